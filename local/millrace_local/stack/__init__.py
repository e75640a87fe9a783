"""The embedded mode as a whole: ``LocalStack`` starts and stops it, a supervisor process keeps it running."""

from millrace_local.stack.stack import LocalStack

__all__ = ["LocalStack"]
