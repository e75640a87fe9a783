"""The embedded mode as a whole: ``LocalStack`` brings it up, a supervisor process keeps it running."""

from millrace_local.stack.stack import LocalStack

__all__ = ["LocalStack"]
