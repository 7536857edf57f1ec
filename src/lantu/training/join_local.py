"""Run one rank of a run that another process on this machine composed and started."""

import json
import os
import signal
import threading
from pathlib import Path

from lantu.errors import UserError
from lantu.training.distributed import torchrun
from lantu.training.distributed.local_ranks import COMPOSITION, VARIABLE
from lantu.training.faults import failure_message
from lantu.training.run import run


def join() -> int:
    """Run the rank that the environment names; return the exit status."""
    folder = Path(os.environ.pop(VARIABLE))  # so that child processes of this rank do not count as ranks
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    composition = torchrun.from_content(json.loads((folder / COMPOSITION).read_text()))
    status = 0
    try:
        report = run(composition).report()
    except UserError as error:
        report, status = {"error": str(error), "status": error.status}, error.status
    except Exception as error:
        # a sweep groups failures by their sentence, so it must not contain the run's folder
        of_a_sweep = composition.cfg.sweep.trial is not None
        message = failure_message(error, Path() if of_a_sweep else Path(composition.cfg.paths.run))
        report, status = {"error": message, "status": 1}, 1
    draft = folder / f"{os.environ['LOCAL_RANK']}.draft"
    draft.write_text(json.dumps(report, default=str))
    draft.rename(draft.with_suffix(".json"))
    return status


def _end_with_the_starter() -> None:
    """Exit when the parent process has exited: the other ranks may be gone too."""
    os.read(0, 1)  # not through sys.stdin, whose lock Python needs at shutdown
    os.kill(os.getpid(), signal.SIGKILL)
