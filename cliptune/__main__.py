"""`python -m cliptune`."""

import sys

from cliptune.main import main

sys.exit(main())
