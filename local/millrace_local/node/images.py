"""Which images the node runs: by repository, since it pulls none."""

from __future__ import annotations

from collections.abc import Collection

# Those that the platform runs as pods; the operator runs as a process of the stack.
OWN = tuple(
    f"millrace/{name}" for name in ("evidence", "gateway", "inference", "inference-gpu", "materialize", "registry")
)


def repository(image: str) -> str:
    """The image without tag and digest: ``registry.example:5000/team/app`` of
    ``registry.example:5000/team/app:1.2@sha256:…``.
    """
    name = image.split("@", 1)[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.split(':', 1)[0]}"


def is_runnable(image: str, also: Collection[str]) -> bool:
    """Whether ``image`` runs as a process: Millrace's own images, and those whose repository ends in one of
    ``also``.
    """
    name = repository(image)
    return any(name == known or name.endswith(f"/{known}") for known in (*OWN, *also))


def refusal(image: str) -> str:
    """The message for an image that does not run here."""
    return (
        f"image {image!r} cannot run on the embedded node, which runs commands as processes of this machine and pulls "
        f"no images. It runs {', '.join(OWN)}; start it with --run-image {repository(image)} to run this image's "
        "commands as they are"
    )
