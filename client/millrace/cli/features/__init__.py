"""Feature views: training sets, online reads, materialization, checks.

Options are in ``target``, what is printed in ``millrace.cli.output``; the commands themselves only call the SDK.
"""

from millrace.cli.features.app import app

__all__ = ["app"]
