"""`python -m lantu` is the `lantu` command."""

import sys

from lantu.cli.main import main

sys.exit(main())
