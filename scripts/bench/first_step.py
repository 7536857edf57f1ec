"""From the command to the first step: how long importing, composing, the data, the model and the first batch take.

Run: python scripts/bench/first_step.py [--runs 3] [OVERRIDES ...]
Each run is a process of its own, and its parts follow each other as in `lantu train`. Processor time is shown beside
the clock's, since a busy machine makes a person wait without doing more.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

PARTS = ("import", "compose", "data", "model", "trainer", "first batch", "first step")
CHILD = "--child"


class Stages:
    """Seconds of each part, by the clock and in processor time."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[float, float]] = {}
        self._wall, self._cpu = time.time(), 0.0

    def end(self, part: str) -> None:
        wall, cpu = time.time(), time.process_time()
        self.taken[part] = (wall - self._wall, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu


def main() -> None:
    """Run children in turn, and print medians."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    found: list[dict[str, tuple[float, float]]] = []
    for turn in range(asked.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, CHILD, f"paths.root={folder}", *asked.overrides]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        if turn:  # the first one warms the file cache
            found.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table("part", "seconds", "CPU seconds", title=" ".join(["lantu train", *asked.overrides]))
    for part in (*PARTS, "all"):
        each = [run[part] if part in run else map(sum, zip(*run.values(), strict=True)) for run in found]
        wall, cpu = (statistics.median(column) for column in zip(*each, strict=True))
        table.add_row(part, f"{wall:.2f}", f"{cpu:.2f}")
    Console().print(table)


def child(overrides: list[str]) -> None:
    """Be a run that ends after its first step."""
    stages = Stages()
    import lantu
    from lantu.config.build import build, build_all
    from lantu.training.build_task import build_task
    from lantu.training.complete_config import complete_config, publish_facts

    stages.end("import")
    composition = lantu.compose(*overrides, "trainer.max_steps=1", "trainer.enable_progress_bar=false", "logger=none")
    cfg = complete_config(composition)
    stages.end("compose")
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    stages.end("data")
    task = build_task(cfg)
    stages.end("model")

    from pytorch_lightning import Callback

    class Ends(Callback):
        def on_train_start(self, *_: Any) -> None:
            stages.end("trainer")

        def on_train_batch_start(self, *_: Any) -> None:
            stages.end("first batch")

        def on_train_batch_end(self, *_: Any) -> None:
            stages.end("first step")

    callbacks = build_all({name: node for name, node in cfg.callbacks.items() if name not in ("progress", "resume")})
    trainer = build(cfg.trainer, logger=False, callbacks=[*callbacks, Ends()], limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    print(json.dumps(stages.taken))


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(sys.argv[2:])
    else:
        main()
