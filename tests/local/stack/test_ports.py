"""Ports that are taken, and which process has them."""

from __future__ import annotations

import os
import socket
from dataclasses import astuple, replace

import pytest

from millrace_core.base.errors import RejectError
from millrace_local.stack.ports import check_free, free_ports
from millrace_local.stack.settings import Ports


def test_free_ports_are_free_and_all_different() -> None:
    ports = free_ports()
    assert len(set(astuple(ports))) == 4
    check_free(ports, ["api", "ingress", "store", "operator"])


def test_a_port_in_use_is_named_with_its_option_and_its_process() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        ports = replace(free_ports(), ingress=number)
        with pytest.raises(RejectError) as caught:
            check_free(ports, ["api", "ingress"])
        check_free(ports, ["api", "store"])
    assert caught.value.field == "--ingress-port"
    assert f"port {number} on 127.0.0.1 is taken by process {os.getpid()} (" in str(caught.value)
    assert caught.value.reason == "PortInUse"


@pytest.mark.parametrize("number", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(number: int) -> None:
    with pytest.raises(RejectError, match="is no TCP port"):
        check_free(Ports(api=number), ["api"])


def test_two_components_cannot_have_one_port() -> None:
    ports = free_ports()
    with pytest.raises(RejectError, match="is also that of --api-port"):
        check_free(replace(ports, store=ports.api), ["api", "store"])
