"""What ONNX Runtime says, as people may read it."""

from __future__ import annotations

import pytest

from millrace_services.inference.runtime import first_line, is_devices_fault, is_out_of_memory

SOURCES = "/onnxruntime_src/onnxruntime/core"
CUDA_CALL = (
    f"{SOURCES}/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*, SUCCTYPE, int) [with ERRTYPE = cudaError; bool THRW = true; "
    "std::conditional_t<THRW, void, common::Status> = void] "
)
WHERE = f" ; GPU=-1 ; hostname=vm ; file={SOURCES}/providers/cuda/cuda_execution_provider.cc ; line=323 ; expr=f(0); "
ARENA = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running MatMul node. Name:'' Status Message: "
    f"{SOURCES}/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to "
    "allocate memory for requested buffer of size 183500800000\n"
)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (CUDA_CALL * 2 + "CUDA failure 100: no device" + WHERE, "CUDA failure 100: no device"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: illegal access" + WHERE,
            "CUDA failure 700: illegal access",
        ),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got 5\n Expected: 512", "Got 5"),
        (
            ARENA,
            "Non-zero status code returned while running MatMul node. Name:'' Status Message: "
            "Failed to allocate memory for requested buffer of size 183500800000",
        ),
        ("", "RuntimeError"),
    ],
    ids=["no device", "lost device", "bad input", "no memory", "nothing"],
)
def test_codes_source_lines_and_machines_are_left_out(raw, told):
    assert first_line(RuntimeError(raw)) == told


@pytest.mark.parametrize(
    ("raw", "memory", "device"),
    [
        (ARENA, True, True),
        (CUDA_CALL + "CUDA failure 700: gone" + WHERE, False, True),
        (
            "while running ReduceMax node. Name:'' Status Message: CUDNN failure 3000: NOT_SUPPORTED" + WHERE,
            False,
            True,
        ),
        ("Status Message: keepdims || dim != 0 was false. Can't reduce on dim with value of 0", False, False),
    ],
    ids=["arena", "CUDA", "cuDNN", "model"],
)
def test_a_fault_of_the_device_is_told_from_one_of_the_model(raw, memory, device):
    assert (is_out_of_memory(RuntimeError(raw)), is_devices_fault(RuntimeError(raw))) == (memory, device)
