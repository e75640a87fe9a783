"""``python -m millrace.registry``; settings come from the environment."""

from __future__ import annotations

import sys

from millrace.registry.app import build
from millrace.registry.settings import RegistrySettings
from millrace.web import server

if __name__ == "__main__":
    sys.exit(server.main(RegistrySettings, build))
