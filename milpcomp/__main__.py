"""``python -m milpcomp`` is the command ``milpcomp``."""

import sys

from milpcomp.cli import main

sys.exit(main())
