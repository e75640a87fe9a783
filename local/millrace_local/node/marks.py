"""Environment variables by which processes of containers are found again."""

from __future__ import annotations

POD_MARK = "MILLRACE_POD_UID"
NODE_MARK = "MILLRACE_NODE_ROOT"
