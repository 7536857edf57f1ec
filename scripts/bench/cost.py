"""What measuring the cost costs: a training loop with the meter beside the same loop without it.

Run: python scripts/bench/cost.py [--steps 400] [--milliseconds 5]
The two take turns, so that a busy machine slows both alike; the ratio is of their median steps.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lantu.cost import CostMeter
from lantu.log_noise import without_noise


class Model(LightningModule):
    """Steps of a known length."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.net = nn.Linear(10, 1)
        self.seconds = seconds

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        end = time.perf_counter() + self.seconds
        loss = self.net(batch[0]).square().mean()
        while time.perf_counter() < end:
            pass
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Clock(Callback):
    """The time of each step, from one's end to the next one's."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    """Time both loops in turns and print medians and the ratio."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--milliseconds", type=float, default=5.0)
    asked = parser.parse_args()
    without_noise()
    steps: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(3):
        for name in steps:
            steps[name] += loop(asked.steps, asked.milliseconds / 1000, metered=name == "with")
    plain, metered = (statistics.median(steps[name]) * 1000 for name in ("without", "with"))
    table = Table("loop", "ms a step", "ratio")
    table.add_row("without the meter", f"{plain:.3f}", "1.000")
    table.add_row("with the meter", f"{metered:.3f}", f"{metered / plain:.4f}")
    Console().print(table)


def loop(steps: int, seconds: float, *, metered: bool) -> list[float]:
    """Seconds of each step of a loop."""
    clock, meter = Clock(), CostMeter(say=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=steps,
            enable_model_summary=False, default_root_dir=folder, callbacks=[clock, *([meter] if metered else [])],
        )  # fmt: skip
        trainer.fit(Model(seconds), DataLoader(TensorDataset(torch.rand(64, 10)), batch_size=8))
    meter.close()
    return [after - before for before, after in zip(clock.ends[20:], clock.ends[21:], strict=False)]


if __name__ == "__main__":
    main()
