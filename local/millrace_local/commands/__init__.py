"""The whole platform on this machine, with no cluster."""

from millrace_local.commands.app import app

__all__ = ["app"]
