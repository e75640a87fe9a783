"""The patch types of the Kubernetes API, apart from server-side apply: JSON, merge and strategic merge patch."""

from millrace_local.apiserver.patches.errors import PatchError
from millrace_local.apiserver.patches.json_patch import apply_json_patch
from millrace_local.apiserver.patches.merge import apply_merge_patch
from millrace_local.apiserver.patches.strategic import apply_strategic_patch

__all__ = ["PatchError", "apply_json_patch", "apply_merge_patch", "apply_strategic_patch"]
