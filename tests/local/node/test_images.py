"""Which images run on the node."""

from __future__ import annotations

import pytest

from millrace_local.node.images import is_runnable, repository


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("busybox", "busybox"),
        ("busybox:1.36", "busybox"),
        ("registry:5000/team/app", "registry:5000/team/app"),
        ("registry:5000/team/app:1@sha256:abc", "registry:5000/team/app"),
        ("millrace/materialize@sha256:abc", "millrace/materialize"),
    ],
)
def test_the_repository_is_what_precedes_tag_and_digest(image: str, name: str) -> None:
    assert repository(image) == name


def test_millraces_own_images_run_from_any_registry_and_others_when_named() -> None:
    assert is_runnable("ghcr.io/x/millrace/inference:0.1", ())
    assert is_runnable("millrace/inference", ())
    assert not is_runnable("millrace/trainer", ())
    assert not is_runnable("notmillrace/inference", ())
    assert is_runnable("localhost:5000/team/trainer:2", {"team/trainer"})
