"""``python -m millrace.gateway``."""

import os
import sys
from functools import partial

from millrace.gateway.app import build
from millrace.gateway.settings import GatewaySettings
from millrace.web import server

sys.exit(server.main(GatewaySettings, partial(build, environ=os.environ)))
