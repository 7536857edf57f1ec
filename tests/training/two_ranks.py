"""Train configs one after another, each in two real processes that need no importing: they are copies of this one.

Run: python two_ranks.py FOLDER, with a JSON object of overrides by name on standard input. Metrics of both ranks are
left in FOLDER/NAME.0.json and FOLDER/NAME.1.json; a rank's error is raised.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from lightning_fabric.plugins.environments.lightning import find_free_network_port

import lantu
from lantu.training.run import run

RANKS = 2


def main(folder: Path) -> int:
    """Run them; returns how many failed."""
    return sum(_failed(folder, name, overrides) for name, overrides in json.load(sys.stdin).items())


def _failed(folder: Path, name: str, overrides: list[str]) -> bool:
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port()), "WORLD_SIZE": str(RANKS)}
    started = []
    for rank in range(RANKS):
        if number := os.fork():
            started.append(number)
        else:
            os.environ |= {**shared, "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
            os._exit(_rank(folder, f"{name}.{rank}", [*overrides, f"paths.run={folder}/{name}"]))
    statuses = [os.waitpid(number, 0)[1] for number in started]
    return any(statuses)


def _rank(folder: Path, name: str, overrides: list[str]) -> int:
    try:
        metrics = run(lantu.compose(f"paths.root={folder}", *overrides)).metrics
        (folder / f"{name}.json").write_text(json.dumps(metrics))
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
