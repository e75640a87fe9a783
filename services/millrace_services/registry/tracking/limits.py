"""What names, ids and values of experiments and runs may be; values that are too long are cut, as MLflow cuts them.

Limits: https://mlflow.org/docs/latest/rest-api.html and ``mlflow/utils/validation.py``. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow.errors import INVALID, MlflowError, invalid, missing
from millrace_services.registry.mlflow.keys import bounded, key, undone

MOST_METRICS: Final = 1000
MOST_PARAMS: Final = 100
MOST_TAGS: Final = 100
MOST_TOGETHER: Final = 1000
MOST_DATASETS: Final = 1000
LIFECYCLES: Final = ("active", "deleted")
VIEWS: Final = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")
STATUSES: Final = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")

_MOST_NAME: Final = 500
_MOST_RUN_NAME: Final = 8000
_MOST_URI: Final = 2000
_MOST_ID: Final = 256
_MOST_PARAM: Final = 6000
_MOST_TAG: Final = 8000
_MOST_EXPERIMENT_TAG: Final = 5000
_ID: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def experiment_name(given: str, field: str = "name") -> str:
    """The name of an experiment, as it is. Raises ``MlflowError`` where it is none."""
    if not given.strip():
        raise missing(field)
    return bounded(field, given, _MOST_NAME)


def experiment_number(given: str) -> int:
    """The number of an experiment.

    Raises:
        MlflowError: none has such an id.
    """
    if not _NUMBER.fullmatch(given):
        raise no_experiment(given)
    return int(given)


def no_experiment(given: object) -> MlflowError:
    """There is no experiment of this id; 404."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", 404, f"No Experiment with id={shown(given, 80)} exists")


def run_id(given: str) -> str:
    """The id of a run, as it is. Raises ``MlflowError`` where it is none."""
    if not given:
        raise missing("run_id")
    if not _ID.fullmatch(given):
        raise invalid(f"Invalid run ID: {shown(given, 80)}")
    return given


def artifact_location(given: str) -> str:
    """Where an experiment's files are to lie, as it is.

    Raises:
        MlflowError: it leads elsewhere than it says, or is no place of its own.
    """
    plain = undone(bounded("artifact_location", given, _MOST_URI))
    if ".." in re.split(r"[/\\]", plain) or not plain.isprintable() or plain.startswith("runs:"):
        raise invalid(
            f"Invalid value {shown(given, 200)} for parameter 'artifact_location' supplied: an absolute URI without "
            "relative path references is expected, and none of a run's"
        )
    if "#" in plain or ("?" in plain and "://" in plain):
        raise invalid(
            f"Invalid value {shown(given, 200)} for parameter 'artifact_location': it has a query or fragment"
        )
    return given.rstrip("/")


def param(given_key: str, value: str) -> tuple[str, str]:
    """Key and value of a parameter."""
    return key("key", given_key), value[:_MOST_PARAM]


def tag(given_key: str, value: str) -> tuple[str, str]:
    """Key and value of a run's tag."""
    return key("key", given_key), value[:_MOST_TAG]


def experiment_tag(given_key: str, value: str) -> tuple[str, str]:
    """Key and value of an experiment's tag, which is not cut."""
    return key("key", given_key), bounded("value", value, _MOST_EXPERIMENT_TAG)


def run_name(given: str) -> str:
    """The name of a run, as it is. Raises ``MlflowError`` where it is too long."""
    return bounded("run_name", given, _MOST_RUN_NAME)


def short(field: str, given: str) -> str:
    """An id or a user, as it is. Raises ``MlflowError`` where it is too long."""
    return bounded(field, given, _MOST_ID)


def batch(what: str, most: int, count: int) -> None:
    """Refuses more of something than a request may have. Raises ``MlflowError``."""
    if count > most:
        raise MlflowError(
            INVALID,
            400,
            f"A batch logging request can contain at most {most} {what}. Got {count} {what}. "
            f"Please split up {what} across multiple requests and try again.",
        )
