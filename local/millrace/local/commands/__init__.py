"""``millrace local``: the embedded mode on the command line."""

from millrace.local.commands.app import app

__all__ = ["app"]
