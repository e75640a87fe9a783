"""How a process is told that it may connect to everything, by whoever starts it without the rule itself.

The rule (``destinations``) is a model, whose library takes longer than the start of what only passes it on.
"""

from __future__ import annotations

from typing import Final

VARIABLE: Final = "MILLRACE_OUTGOING"
TEXT: Final = '{"open": true}'
