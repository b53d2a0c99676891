"""``python -m resmfn`` is the ``resmfn`` command."""

import sys

from resmfn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
