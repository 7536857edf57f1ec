"""What a sweep costs beside its trials: fifty trials of ten steps, five ways in one run; scheduling from 10 to 1,000.

python scripts/bench/sweeps.py [--trials 50] [--schedule 10,100,1000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TRIAL = ("model=linear", "trainer.max_steps=10", "save_model=false", "test=false")

PLAIN = """
import sys
import optuna, torch
from pytorch_lightning import Trainer, seed_everything
import lantu
from lantu.config.build import build
from lantu.training.build_task import build_task

optuna.logging.set_verbosity(optuna.logging.ERROR)

def objective(trial):
    from lantu.training.complete_config import complete_config, publish_facts
    rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    composition = lantu.compose("model=linear", f"optimizer.lr={rate}", "logger=none", "callbacks=none")
    cfg = complete_config(composition)
    seed_everything(0, verbose=False)
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    trainer = Trainer(accelerator="cpu", max_steps=10, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0)
    task = build_task(cfg)
    trainer.fit(task, datamodule=data)
    return float(trainer.callback_metrics.get("val/loss", 0.0))

optuna.create_study().optimize(objective, n_trials=int(sys.argv[1]))
"""

SCHEDULING = """
import sys, time
from types import SimpleNamespace
from lantu.sweeps.trial import RunTrial

def nothing(self, cfg, sweep, trial):
    return SimpleNamespace(metrics={"val/loss_best": 1.0}, cost={}, run_id=None)

RunTrial._train = nothing  # a trial that takes no time: what is left is the sweep's own
from lantu.cli.main import main
begun = time.perf_counter()
try:
    main(["train", "-m", "sweep.compare=false", "logger=none", f"seed=range({sys.argv[1]})"])
finally:
    print("SECONDS", time.perf_counter() - begun)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--schedule", default="10,100,1000")
    asked = parser.parse_args()
    rates = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
    search = ("hydra/sweeper=optuna", f"hydra.sweeper.n_trials={asked.trials}", rates, "sweep.compare=false")
    grid = ",".join(f"{0.0001 * 1.1**each:.6f}" for each in range(asked.trials))
    ways = {
        "a plain Optuna loop around Lightning, nothing recorded": [sys.executable, "-c", PLAIN, str(asked.trials)],
        "Hydra's own sweeper, basic launcher": _lantu("hydra/sweeper=basic", f"optimizer.lr={grid}"),
        "ours, basic launcher": _lantu(f"optimizer.lr={grid}", "sweep.compare=false"),
        "ours, joblib with two workers": _lantu(
            f"optimizer.lr={grid}", "sweep.compare=false", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
        ),
        "ours, search, joblib with two workers": _lantu(*search, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    }
    print(f"{asked.trials} trials of ten steps")
    first = 0.0
    for name, command in ways.items():
        seconds, _ = _timed(command)
        first = first or seconds
        print(
            f"  {name:<58} {seconds:7.1f} s  {seconds / asked.trials * 1000:7.0f} ms a trial  x {seconds / first:.2f}"
        )
    print("scheduling alone (trials that do nothing)")
    for number in asked.schedule.split(","):
        _, said = _timed([sys.executable, "-c", SCHEDULING, number])
        seconds = float(said.rpartition("SECONDS")[2])
        print(f"  {int(number):5,} trials {seconds:7.1f} s  {1000 * seconds / int(number):7.1f} ms a trial")


def _lantu(*overrides: str) -> list[str]:
    return [sys.executable, str(REPO / "scripts" / "train.py"), "-m", *TRIAL, *overrides]


def _timed(command: list[str]) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANTU_HOME": folder}
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
        if done.returncode:
            sys.exit(f"{' '.join(command)[:300]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return seconds, done.stdout


if __name__ == "__main__":
    main()
