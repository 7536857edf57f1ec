"""`python scripts/evaluate.py` is `lantu evaluate`."""

import sys

from lantu.cli.main import script

if __name__ == "__main__":
    sys.exit(script("evaluate"))
