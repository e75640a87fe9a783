"""``python -m millrace_core.api.generate DIR…``: writes the CRDs as YAML, one file per kind, into each folder given."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from millrace_core.api.crdgen import crd
from millrace_core.api.kinds import KINDS

_HEADER = "# Generated from core/millrace_core/api by `make generate`; do not edit.\n"


def rendered() -> dict[str, str]:
    """File name to YAML text."""
    return {
        f"{kind.plural}.yaml": _HEADER + yaml.safe_dump(crd(kind), sort_keys=False, width=110, allow_unicode=True)
        for kind in KINDS
    }


def main(folders: list[str]) -> None:
    """Writes every CRD into every folder."""
    for folder in map(Path, folders):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in rendered().items():
            (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
