"""How many examples property tests draw: as many as the profile in ``MILLRACE_EXAMPLES`` says, or a share of it."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

# Examples are others in each run, so that many cheap runs see what few long ones do.
PROFILES: Final = {"fast": 10, "ci": 25, "long": 1000}


def load_profile() -> None:
    """A machine may be busy, so no example fails for being slow."""
    for name, examples in PROFILES.items():
        settings.register_profile(name, deadline=None, max_examples=examples)
    settings.load_profile(os.environ.get("MILLRACE_EXAMPLES") or "ci")


def examples(share: float) -> int:
    """What a test draws that says its share: below 1 where an example is dear, above where it is cheap."""
    return max(2, round(settings.default.max_examples * share))
