"""`python scripts/predict.py` is `lantu predict`."""

import sys

from lantu.cli.main import script

if __name__ == "__main__":
    sys.exit(script("predict"))
