"""``python -m jaxrl``: the command line, see ``jaxrl.cli.main``."""

import sys

from jaxrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
