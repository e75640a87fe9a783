"""``python -m millrace.materialize``: see ``millrace.materialize.main``."""

import os
import sys

from millrace.base.hidden import hide

if __name__ == "__main__":
    hide("pandas")
    from millrace.materialize.main import main

    sys.exit(main(sys.argv[1:], os.environ))
