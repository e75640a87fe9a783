"""``python -m millrace_services.registry``; settings come from the environment."""

from __future__ import annotations

import sys

from millrace_core.base.blocked_import import UNUSED, block_imports

if __name__ == "__main__":
    block_imports(*UNUSED)
    from millrace_services.registry.app import build
    from millrace_services.registry.settings import RegistrySettings
    from millrace_services.web import server

    sys.exit(server.main(RegistrySettings, build))
