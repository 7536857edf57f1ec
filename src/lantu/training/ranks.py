"""Helper ranks of a distributed run: they join what rank zero has composed, instead of composing it again.

Lightning starts its helper processes by repeating the command line. Under Hydra each of them would make an output
folder of its own, and in a sweep each would run the whole sweep. So rank zero leaves its composed config in the run's
folder and its path in the environment; a process that finds itself a helper reads that and nothing else.
"""

import json
import os
from pathlib import Path

from omegaconf import OmegaConf

from lantu.config.composing import Composition

VARIABLE = "LANTU_RANK_OF"
FILE = "composition.json"


def announce(composition: Composition) -> None:
    """Leave a composition for the helpers that the trainer may start."""
    folder = Path(composition.cfg.paths.run)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "cfg": OmegaConf.to_container(composition.cfg, resolve=False),
        "choices": composition.choices,
        "overrides": composition.overrides,
    }
    (folder / FILE).write_text(json.dumps(content))
    os.environ[VARIABLE] = str(folder)


def join() -> int:
    """Take part, as a helper rank, in the run that rank zero announced; returns the exit status."""
    from lantu.training.run import run

    content = json.loads((Path(os.environ[VARIABLE]) / FILE).read_text())
    run(Composition(OmegaConf.create(content["cfg"]), content["choices"], content["overrides"]))
    return 0
