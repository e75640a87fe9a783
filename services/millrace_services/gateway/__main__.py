"""``python -m millrace_services.gateway``."""

import os
import sys
from functools import partial

from millrace_core.base.blocked_import import UNUSED, block_imports

if __name__ == "__main__":
    block_imports(*UNUSED)
    from millrace_services.gateway.app import build
    from millrace_services.gateway.settings import GatewaySettings
    from millrace_services.web import server

    sys.exit(server.main(GatewaySettings, partial(build, environ=os.environ)))
