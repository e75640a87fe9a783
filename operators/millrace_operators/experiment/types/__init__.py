"""The experiment types: what one does that another does not, each an object in a file of its own.

To add one, write its file (see ``base``) and add its line here. Its name and what its spec must hold are said to users
in ``millrace_core.api.experiment_types``.
"""

from __future__ import annotations

from typing import Final

from millrace_operators.experiment.types.ab_test import ABTest
from millrace_operators.experiment.types.bandit import Bandit
from millrace_operators.experiment.types.base import ExperimentType
from millrace_operators.experiment.types.blue_green import BlueGreen
from millrace_operators.experiment.types.canary import Canary
from millrace_operators.experiment.types.shadow import Shadow

TYPES: Final[dict[str, ExperimentType]] = {
    "ABTest": ABTest(),
    "Canary": Canary(),
    "BlueGreen": BlueGreen(),
    "Shadow": Shadow(),
    "Bandit": Bandit(),
}

# Of a name that this release does not know: it holds what it has.
_UNKNOWN: Final = ExperimentType()


def type_of(name: str) -> ExperimentType:
    """The object for a value of ``spec.type``."""
    return TYPES.get(name, _UNKNOWN)
