"""``python -m millrace_services.materialize``: see ``millrace_services.materialize.main``."""

import os
import sys

from millrace_core.base.blocked_import import UNUSED, block_imports

if __name__ == "__main__":
    block_imports(*UNUSED)
    from millrace_services.materialize.main import main

    sys.exit(main(sys.argv[1:], os.environ))
