"""Errors of the SDK in the words of a terminal: an argument of a function is a flag here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

# An argument with its value, as hints of the SDK write it: a text, a list of texts, or True.
_ARGUMENT: Final = re.compile(
    r"\b(online|gateway|token|gateway_url|kubeconfig|to|entities|features|full_feature_names)="
    r'(?:"([^"]*)"|\["([^"]*)"[^\]]*\]|True\b)?'
)
_FLAGS: Final = {"token": "--token-file", "gateway_url": "--gateway", "full_feature_names": "--full-feature-names"}
# Arguments of the SDK by which an error names its field, and the variable that stands for each option.
_VARIABLES: Final = {
    "online": "MILLRACE_STORE_URL",
    "gateway": "MILLRACE_GATEWAY_URL",
    "token": "MILLRACE_TOKEN_FILE",
    "lake": "MILLRACE_LAKE_URI",
    "kubeconfig": "KUBECONFIG",
    "start": "",
    "end": "",
    "as_of": "",
    "to": "",
}
_WORDS: Final = (
    ("Set full_feature_names to true", "Give --full-feature-names"),
    ("Pass entity_df without", "Name a file by --entities without"),
)


def in_terminal(text: str) -> str:
    """The text, with flags where the SDK names arguments: ``online="embedded"`` is ``--online embedded``."""
    for words, meant in _WORDS:
        text = text.replace(words, meant)
    return _ARGUMENT.sub(_flag, text)


def option(field: str, arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """The option that a field at fault is, or the variable that was set in its place; other fields as they are."""
    if field not in _VARIABLES:
        return field
    flag, variable = _FLAGS.get(field, "--" + field.replace("_", "-")), _VARIABLES[field]
    given = any(each.partition("=")[0] == flag for each in arguments)
    return flag if given or not environ.get(variable) else variable


def _flag(found: re.Match[str]) -> str:
    name, value = found[1], found[2] or found[3] or ""
    return f"{_FLAGS.get(name, f'--{name}')} {value}".rstrip()
