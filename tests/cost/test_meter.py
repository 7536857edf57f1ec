"""A run's cost: true to the clock, added up over resumes and ranks, and kept within its budget.

The clock is one that the tests set, so that their numbers are exact on a machine however busy it is.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lantu.cost import CostMeter
from lantu.cost.energy import EnergyMeter
from lantu.cost.meter import BUDGET_SECONDS
from lantu.cost.prices import Economics


class Clock:
    """Stands in for `time`: nobody waits, and only what sleeps takes time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the meter, and of what sleeps here."""
    clock = Clock()
    monkeypatch.setattr("lantu.cost.meter.time", clock)
    monkeypatch.setitem(globals(), "time", clock)
    return clock


class WaitForEnergy(Callback):
    """Trains once the meter knows how to measure energy, which it finds out beside a run and needs for an estimate."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (meter,) = [each for each in trainer.callbacks if isinstance(each, CostMeter)]
        assert meter._energy is not None
        meter._energy.wait()


PRICES = {"usd_per_device_hour": {"cpu": 3600.0}}  # a dollar a second


class Rows(Dataset):
    def __init__(self, count: int, seconds: float = 0.0) -> None:
        self.count = count
        self.seconds = seconds

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        time.sleep(self.seconds)
        return torch.ones(10), torch.ones(1)


class Model(LightningModule):
    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Linear(10, 1)
        self.seconds = seconds

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        time.sleep(self.seconds)
        return (self.net(batch[0]) - batch[1]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", (self.net(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Tagged(CSVLogger):
    """A logger that keeps tags too."""

    tags: dict[str, str]

    def log_tags(self, tags: dict[str, str]) -> None:
        self.tags = {**getattr(self, "tags", {}), **tags}


def fit(folder: Path, meter: CostMeter, *, seconds: float = 0.0, rows: Rows | None = None, **options: Any) -> Trainer:
    checkpoint = options.pop("ckpt_path", None)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=Tagged(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=[
            meter,
            WaitForEnergy(),
            ModelCheckpoint(folder / "checkpoints", filename="best", monitor="val/loss", save_last=True),
        ],
        **options,
    )
    rows = rows or Rows(40)
    trainer.fit(Model(seconds), DataLoader(rows, batch_size=4), DataLoader(Rows(4), batch_size=4), ckpt_path=checkpoint)
    return trainer


def test_totals_are_true_to_the_clock_and_to_the_work(tmp_path: Path, clock: Clock) -> None:
    meter = CostMeter(economics=PRICES, say=False)
    begin = monotonic()
    fit(tmp_path, meter, seconds=0.05, max_epochs=3)
    assert meter.spent["cost/device_hours"] * 3600 == pytest.approx(30 * 0.05)
    assert meter.spent["cost/usd"] == pytest.approx(30 * 0.05, rel=1e-6)
    assert meter.spent["cost/flops"] == 3 * (2 * 10) * 40 * 3
    assert 0 < meter.spent["cost/kwh"] < 0.5 * (monotonic() - begin) / 3600, "more than a 500 W machine"
    assert meter.now.samples == 120
    assert meter.now.training_seconds == pytest.approx(30 * 0.05)
    assert "estimated" in meter.energy_source or "measured" in meter.energy_source
    meter.close()


def test_waiting_for_data_is_told_from_working(tmp_path: Path, clock: Clock) -> None:
    meter = CostMeter(say=False)
    fit(tmp_path, meter, rows=Rows(40, seconds=0.01), max_epochs=1)
    assert meter.now.waiting_seconds == pytest.approx(9 * 0.04), "for all of ten batches but the first"
    working = CostMeter(say=False)
    fit(tmp_path, working, seconds=0.02, max_epochs=1)
    assert working.now.waiting_seconds == 0
    assert working.now.training_seconds == pytest.approx(10 * 0.02)


def test_a_resumed_run_goes_on_adding(tmp_path: Path, clock: Clock) -> None:
    first = CostMeter(economics=PRICES, say=False)
    fit(tmp_path, first, seconds=0.02, max_epochs=2)
    second = CostMeter(economics=PRICES, say=False)
    trainer = fit(tmp_path, second, seconds=0.02, max_epochs=3, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert second.now.samples == 40
    assert second.total(trainer).samples == 120
    assert second.now.seconds == pytest.approx(10 * 0.02)
    assert second.spent["cost/usd"] == pytest.approx(30 * 0.02)


def test_a_budget_ends_the_run_with_a_checkpoint_and_its_reason(tmp_path: Path, clock: Clock) -> None:
    meter = CostMeter(economics=PRICES, budget={"usd": 4.0}, say=False)
    trainer = fit(tmp_path, meter, seconds=0.05, max_epochs=1000)
    assert meter.stopped_by is not None
    assert "budget.usd=4 was reached" in meter.stopped_by
    assert trainer.loggers[0].tags["lantu.stopped_by"] == meter.stopped_by
    assert 4.0 <= meter.spent["cost/usd"] < 4.0 + BUDGET_SECONDS + 2 * 0.05
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] > 10


def test_the_estimate_of_a_steady_run_is_within_a_twentieth(tmp_path: Path, clock: Clock) -> None:
    meter = CostMeter(economics=PRICES, say=False)
    trainer = fit(tmp_path, meter, seconds=0.05, max_epochs=8)
    assert meter.estimate is not None
    errors = meter.estimate.errors(
        hours=meter.spent["cost/device_hours"], kwh=meter.spent["cost/kwh"], usd=meter.spent["cost/usd"]
    )
    assert abs(errors["preflight/hours_error"]) < 0.05  # it expects a validation to take time, which it does not here
    logged = (Path(trainer.loggers[0].log_dir) / "metrics.csv").read_text()
    for name in ("preflight/hours", "preflight/usd_error", "cost/co2e_kg", "speed/latency_ms", "cost/peak_memory_gib"):
        assert name in logged


def test_the_estimate_of_a_resumed_run_leaves_out_what_is_done(tmp_path: Path, clock: Clock) -> None:
    first = CostMeter(economics=PRICES, say=False)
    fit(tmp_path, first, seconds=0.05, max_epochs=3)
    first.close()
    second = CostMeter(economics=PRICES, say=False)
    fit(tmp_path, second, seconds=0.05, max_epochs=5, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    second.close()
    assert second.before.steps == 30
    assert second.estimate is not None
    left = 3600 * second.estimate.hours - second.before.seconds
    assert left == pytest.approx(20 * 0.05, rel=0.05), "20 steps of 0.05 s are left, not 40"


class Stream(IterableDataset):
    """Rows that do not say how many they are."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(60):
            yield torch.ones(10), torch.ones(1)


@pytest.mark.parametrize(("limits", "known"), [({"max_epochs": 2}, False), ({"max_epochs": -1, "max_steps": 30}, True)])
def test_data_without_a_length_are_trained_on(
    tmp_path: Path, clock: Clock, limits: dict[str, int], known: bool
) -> None:
    meter = CostMeter(economics=PRICES, say=False)
    trainer = fit(tmp_path, meter, seconds=0.01, rows=Stream(), **limits)
    meter.close()
    assert trainer.global_step == 30
    logged = (Path(trainer.loggers[0].log_dir) / "metrics.csv").read_text()
    assert ("preflight/hours" in logged) is known
    assert "inf" not in logged


def test_latency_is_of_the_model_where_it_was_trained(tmp_path: Path) -> None:
    class Watched(Model):
        moved = False

        def cpu(self) -> "Watched":
            self.moved = True
            return super().cpu()

    meter, timed_after_moving = CostMeter(say=False), []
    model = Watched()
    model.net.register_forward_hook(lambda *_: timed_after_moving.append(model.moved))
    trainer = Trainer(
        accelerator="cpu", devices=1, default_root_dir=tmp_path, logger=Tagged(tmp_path), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, max_epochs=1, callbacks=[meter],
    )  # fmt: skip
    trainer.fit(model, DataLoader(Rows(8), batch_size=4))
    meter.close()
    assert "speed/latency_ms" in (Path(trainer.loggers[0].log_dir) / "metrics.csv").read_text()
    assert not any(timed_after_moving)


TWO_RANKS = """
import json, sys
from pathlib import Path
import torch
from tests.cost.test_meter import PRICES, CostMeter, DataLoader, Model, Rows, Tagged, Trainer

folder = Path(sys.argv[1])
meter = CostMeter(economics=PRICES, say=False)
trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=Tagged(folder), enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, callbacks=[meter],
)
trainer.fit(Model(0.02), DataLoader(Rows(40), batch_size=4))
(folder / f"{trainer.global_rank}.json").write_text(json.dumps({"spent": meter.spent, "here": vars(meter.now)}))
torch.distributed.destroy_process_group()  # left to the end of the process, gloo's threads may abort it
"""


@pytest.mark.slow
def test_two_ranks_add_up(tmp_path: Path) -> None:
    (tmp_path / "two_ranks.py").write_text(TWO_RANKS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, tmp_path / "two_ranks.py", tmp_path], env=environment, check=True, timeout=120)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    spent, seconds = ranks[0]["spent"], sum(each["here"]["seconds"] for each in ranks)
    assert spent["cost/flops"] == 3 * 20 * 40 * 2
    assert spent["cost/kwh"] == pytest.approx(sum(each["here"]["kwh"] for each in ranks), rel=0.5)
    assert spent["cost/device_hours"] * 3600 == pytest.approx(seconds, rel=0.3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_no_process_is_forked_while_the_meter_starts_programs() -> None:
    # one that was would hold the pipe of such a program open, and the meter wait until it ends
    meter = EnergyMeter(Economics(country="FRA"))
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert not meter._starting.is_alive()
    meter.stop()
