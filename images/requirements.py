"""Prints what an extra of the distribution depends on, one requirement a line, without what the distribution itself
depends on: ``python requirements.py gateway``. Extras that it names are spelled out.

pip has no such option: ``millrace[gateway]`` brings the SDK's engines, too. It runs before anything is installed.
"""

import re
import sys
import tomllib
from pathlib import Path

_NAMED = re.compile(r"millrace\[([a-z,]+)\]")


def requirements(extras: dict[str, list[str]], name: str) -> list[str]:
    """The requirements of an extra, sorted."""
    found: set[str] = set()
    for requirement in extras[name]:
        named = _NAMED.fullmatch(requirement)
        found |= {each for one in named[1].split(",") for each in requirements(extras, one)} if named else {requirement}
    return sorted(found)


def main() -> int:
    """Exit code 2: there is no such extra."""
    # In the image it lies beside pyproject.toml, in the checkout one folder below.
    here = Path(__file__).resolve().parent
    [document, *_] = [path for path in (here / "pyproject.toml", here.parent / "pyproject.toml") if path.exists()]
    extras = tomllib.loads(document.read_text())["project"]["optional-dependencies"]
    name = " ".join(sys.argv[1:])
    if name not in extras:
        sys.stderr.write(f"give one extra, of {', '.join(extras)}\n")
        return 2
    sys.stdout.write("".join(f"{each}\n" for each in requirements(extras, name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
