"""``python -m millrace_services.materialize``: see ``millrace_services.materialize.main``."""

import os
import sys

from millrace_core.base.hidden import hide

if __name__ == "__main__":
    hide("pandas")
    from millrace_services.materialize.main import main

    sys.exit(main(sys.argv[1:], os.environ))
