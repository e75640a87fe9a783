"""``python -m millrace_services.gate``: see ``millrace_services.gate.main``."""

import os
import sys

from millrace_core.base.blocked_import import UNUSED, block_imports

if __name__ == "__main__":
    block_imports(*UNUSED)
    from millrace_services.gate.main import main

    sys.exit(main(os.environ))
