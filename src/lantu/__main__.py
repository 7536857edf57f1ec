"""`python -m lantu` is the `lantu` command."""

import sys

from lantu.cli import main

sys.exit(main())
