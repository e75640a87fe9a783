"""``python -m millrace_services.registry``; settings come from the environment."""

from __future__ import annotations

import sys

from millrace_services.registry.app import build
from millrace_services.registry.settings import RegistrySettings
from millrace_services.web import server

if __name__ == "__main__":
    sys.exit(server.main(RegistrySettings, build))
