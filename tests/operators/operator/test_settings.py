"""The operator's settings."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_operators.operator.settings import OperatorSettings


def test_defaults_suffice() -> None:
    settings = OperatorSettings.load({})
    assert settings.namespace == "millrace-system"
    images = (settings.inference_image, settings.gpu_image, settings.materialize_image)
    assert [image.split(":")[0] for image in images] == [
        "millrace/inference",
        "millrace/inference-gpu",
        "millrace/materialize",
    ]


def test_what_children_need_is_passed_on() -> None:
    environ = {f"MILLRACE_{name}_IMAGE": name for name in ("INFERENCE", "GPU", "MATERIALIZE")}
    platform = OperatorSettings.load({"MILLRACE_STORE_URL": "redis://s", **environ}).platform()
    assert platform.store_url == "redis://s"
    images = (platform.inference_image, platform.gpu_image, platform.materialize_image)
    assert images == ("INFERENCE", "GPU", "MATERIALIZE")


def test_every_setting_is_documented() -> None:
    for name, field in OperatorSettings.model_fields.items():
        assert field.description, name
        assert field.alias, name
        assert field.alias.startswith("MILLRACE_")


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_wrong_number_names_its_variable(value: str) -> None:
    with pytest.raises(RejectError, match="MILLRACE_WORKERS"):
        OperatorSettings.load({"MILLRACE_WORKERS": value})
