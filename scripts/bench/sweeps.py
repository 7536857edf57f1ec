"""What a sweep costs beside its trials: fifty trials of ten steps, five ways in one run; scheduling from 10 to 1,000.

python scripts/bench/sweeps.py [--trials 50] [--schedule 10,100,1000]
python scripts/bench/sweeps.py --in-process        # a trial after the first, beside plain Lightning in the same process
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


IN_PROCESS = """
import statistics, sys, time
from lantu.cli.main import main
from lantu.sweeps.trial import RunTrial

ended, run_trial = [], RunTrial.__call__

def marked(self, cfg):
    run_trial(self, cfg)
    ended.append(time.process_time())

RunTrial.__call__ = marked
try:
    main(["train", "-m", *sys.argv[1:]])
except SystemExit as stop:
    if stop.code:
        raise

import lantu
from pytorch_lightning import Trainer
from lantu.config.build import build
from lantu.training.build_task import build_task
from lantu.training.complete_config import complete_config, publish_facts

composition = lantu.compose("model=linear", "logger=none", "callbacks=none", "lean=false")
cfg = complete_config(composition)
data = build(cfg.data)
publish_facts(cfg, data, composition)
plain = []
for _ in ended:
    task, begun = build_task(cfg), time.process_time()
    Trainer(accelerator="cpu", max_steps=10, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0).fit(task, datamodule=data)
    plain.append(time.process_time() - begun)
ours = [after - before for before, after in zip(ended, ended[1:])]
print("MILLISECONDS", *(1000 * statistics.median(each[1:]) for each in (ours, plain)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--schedule", default="10,100,1000")
    parser.add_argument("--in-process", action="store_true")
    asked = parser.parse_args()
    if asked.in_process:
        in_process(asked.trials)
        return
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


def in_process(trials: int) -> None:
    """Print the processor time of a trial after the first, and of Lightning's fit alone."""
    rates = ",".join(f"{0.001 + 0.0001 * each:.4f}" for each in range(trials))
    _, said = _timed([sys.executable, "-c", IN_PROCESS, *TRIAL, "sweep.compare=false", f"optimizer.lr={rates}"])
    ours, plain = map(float, said.rpartition("MILLISECONDS")[2].split())
    print(
        f"processor time of ten steps, medians of {trials}: a trial {ours:.0f} ms, plain Lightning's fit {plain:.0f} ms"
    )
    print(f"  around the steps: {ours - plain:.0f} ms")


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
