"""``python -m equipot`` is the program ``equipot``."""

import sys

from equipot.cli.main import main

sys.exit(main())
