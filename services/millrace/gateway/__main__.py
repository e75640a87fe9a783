"""``python -m millrace.gateway``."""

import sys

from millrace.gateway.app import build
from millrace.gateway.settings import GatewaySettings
from millrace.web import server

sys.exit(server.main(GatewaySettings, build))
