"""How long others may take, in seconds, where no setting says so."""

from __future__ import annotations

from typing import Final

# Until a connection stands: to a database, an object store, a server.
CONNECT_SECONDS: Final = 5.0
# Until one of our own services has answered a small request.
ANSWER_SECONDS: Final = 5.0
# Without a byte of an object that is being read.
IDLE_SECONDS: Final = 30.0
