"""``millrace local``: the embedded mode on the command line."""

from millrace_local.commands.app import app

__all__ = ["app"]
