"""``python -m millrace.materialize``: see ``millrace.materialize.main``."""

import os
import sys
from importlib.machinery import ModuleSpec


class _WithoutPandas:
    """Hides pandas from this process, which never uses it: Arrow would import it, for two seconds, if it is there."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG004
        if name == "pandas":
            raise ModuleNotFoundError("pandas is of no use here", name=name)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas)
    from millrace.materialize.main import main

    sys.exit(main(sys.argv[1:], os.environ))
