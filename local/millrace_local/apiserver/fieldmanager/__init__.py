"""Field ownership: server-side apply, and the ``managedFields`` of every write."""

from millrace_local.apiserver.fieldmanager.apply import apply
from millrace_local.apiserver.fieldmanager.conflicts import ApplyConflict
from millrace_local.apiserver.fieldmanager.update import record_update

__all__ = ["ApplyConflict", "apply", "record_update"]
