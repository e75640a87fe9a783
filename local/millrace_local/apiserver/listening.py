"""The server's socket. It listens from the first moment, so that whoever starts beside the server waits in its backlog:
a connection that is refused would be tried again only after a pause, and each in a row after a longer one.
"""

from __future__ import annotations

import socket

from millrace_core.base.errors import ReportError

HOST = "127.0.0.1"
BACKLOG = 2048


def listen(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1; 0 takes a free one.

    Raises:
        ReportError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ReportError(
            f"cannot listen on {HOST}:{port}: {error.strerror}", hint="Choose another --port, or 0 for a free one"
        ) from error
    listener.listen(BACKLOG)
    return listener
