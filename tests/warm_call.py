"""Call a function in a warm process: python -m tests.warm_call CALL, as `tests.warm.call_warm` starts it."""

import base64
import pickle
import sys

if __name__ == "__main__":
    work, arguments = pickle.loads(base64.b64decode(sys.argv[1]))
    work(*arguments)
