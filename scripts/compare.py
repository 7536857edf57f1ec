"""`python scripts/compare.py` is `lantu compare`."""

import sys

from lantu.cli.main import script

if __name__ == "__main__":
    sys.exit(script("compare"))
