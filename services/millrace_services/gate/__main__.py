"""``python -m millrace_services.gate``: see ``millrace_services.gate.main``."""

import os
import sys

if __name__ == "__main__":
    from millrace_services.gate.main import main

    sys.exit(main(os.environ))
