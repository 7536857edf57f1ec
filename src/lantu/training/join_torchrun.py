"""Run one rank other than zero of a run started by torchrun."""

import json
import os
import sys
from pathlib import Path

from lantu.errors import UserError
from lantu.training.distributed import torchrun
from lantu.training.faults import failure_message
from lantu.training.run import run


def join() -> int:
    """Train the run that rank zero publishes, as another rank; return the exit status."""
    store = torchrun.store()
    store.wait([torchrun.key()], torchrun.PATIENCE)
    content = json.loads(store.get(torchrun.key()))
    if content == torchrun.NO_RUN:
        return UserError.status  # rank zero has printed the reason
    composition = torchrun.from_content(content)
    try:
        run(composition)
    except UserError:
        raise
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        message = failure_message(error, Path(composition.cfg.paths.run))
        print(f"lantu train: rank {os.environ['RANK']}: {message}", file=sys.stderr)
        return 1
    return 0
