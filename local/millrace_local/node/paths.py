"""Mount paths in commands and variables: a process has no mount namespace, so each mount path is replaced by its
real path.

A path counts at the start of a word, after one of ``= : , ; @ ( [ { < >`` or a quote, or after ``file://``; it must end
there or go on with ``/``. So ``--model=/models/m.onnx``, ``{"uri":"file:///models"}`` and ``cat </data/x`` are
rewritten, while ``/database`` (for the mount ``/data``), ``http://host/data`` and ``s3://bucket/data`` stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_BEFORE = r"(?:(?<=file://)|(?<![^\s=:,;@(\[{<>|&\"'`]))"
_AFTER = r"(?=$|[/\s:,;?#)\]}<>|&\"'`\\])"


def rewrite(text: str, mounts: Mapping[str, Path]) -> str:
    """Replaces each mount path in ``text`` by its real path; the longest mount path wins."""
    real = {mount.rstrip("/"): str(path) for mount, path in mounts.items() if mount.rstrip("/")}
    if not real:
        return text
    longest_first = "|".join(re.escape(mount) for mount in sorted(real, key=len, reverse=True))
    return re.sub(f"{_BEFORE}({longest_first}){_AFTER}", lambda found: real[found[1]], text)
