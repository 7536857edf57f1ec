"""`python scripts/train.py` is `lantu train`."""

import sys

from lantu.cli.main import script

if __name__ == "__main__":
    sys.exit(script("train"))
