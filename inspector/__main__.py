"""`python -m inspector ...` is the command `attention-inspector ...`."""

import sys

from inspector.cli import main

sys.exit(main())
