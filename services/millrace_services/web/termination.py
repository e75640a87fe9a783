"""What fits into Kubernetes' termination message, by which a container tells the operator its result as JSON."""

from __future__ import annotations

from typing import Any, Final

import orjson

# Kubernetes cuts what is longer, and half a JSON object says nothing.
MOST_BYTES: Final = 4096
_MOST_OF_ERROR: Final = 2000


def size(document: Any) -> int:
    """Bytes of the document as JSON."""
    return len(orjson.dumps(document))


def shortened(error: dict[str, str]) -> dict[str, str]:
    """An error (``MillraceError.as_dict``) whose message is cut where all of it takes more than 2000 bytes."""
    if size(error) <= _MOST_OF_ERROR:
        return error
    return {
        name: _cut(text, _MOST_OF_ERROR if name == "message" else _MOST_OF_ERROR // 4) for name, text in error.items()
    }


def _cut(text: str, most: int) -> str:
    if size(text) <= most:
        return text
    while size(text) > most:
        text = text[: len(text) * 9 // 10]
    return f"{text}…"
