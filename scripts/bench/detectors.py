"""Processor time of a training step: YOLO against torchvision's FCOS with as many weights, on the same pictures.

    python scripts/bench/detectors.py [--pair resnet50] [--data DIR] [--batch 4] [--steps 12] [--profile]

A step is forward, loss, backward and AdamW, on one thread. Both networks run channels-last and contiguous, and the
smaller figure of each counts. The networks take turns, so that a busy machine slows both down alike.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from lantu.models import YOLO, TorchvisionDetector

PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "resnet50": ({"backbone": "resnet50", "width": 256}, {"width_factor": 1.05}),
    "resnet18": ({"backbone": "resnet18", "width": 256}, {"width_factor": 0.8}),
    "resnet50_separable": (
        {"backbone": "resnet50", "width": 256},
        {"width_factor": 1.05, "depth_factor": 0.67, "separable": True},
    ),
    "resnet18_separable": ({"backbone": "resnet18", "width": 256}, {"width_factor": 0.95, "separable": True}),
    "narrow": ({"backbone": "resnet18", "width": 64}, {"width_factor": 0.64}),
}
"""FCOS and a YOLO of as many weights: torchvision's form, on a smaller backbone, and as narrow as `model=fcos`."""


def pictures(batch: int, data: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """Blood cells where the data lie, or as many boxes of their sizes on noise: x, boxes, labels."""
    if data is not None:
        from lantu.data import BoxDataModule

        module = BoxDataModule(path=data, size=256, workers=0, cache="/tmp/lantu_bench_detectors")
        module.prepare_data()
        x, y = module.splits["train"].__getitems__(list(range(batch)))  # type: ignore[attr-defined]
        return x, y["boxes"], y["labels"]
    torch.manual_seed(0)
    centre, half = torch.rand(batch, 14, 2) * torch.tensor([256, 192]), 8 + 16 * torch.rand(batch, 14, 2)
    boxes = torch.cat([centre - half, centre + half], dim=-1).clamp(min=0)
    return torch.randn(batch, 3, 192, 256), boxes, torch.randint(3, (batch, 14))


class Run:
    """A network in training, whose steps are timed."""

    def __init__(self, name: str, net: nn.Module, *, channels_last: bool) -> None:
        self.name, self.format = name, torch.channels_last if channels_last else torch.contiguous_format
        self.net: Any = net.train().to(memory_format=self.format)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4)
        self.seconds: list[float] = []

    def step(self, x: Tensor, boxes: Tensor, labels: Tensor) -> None:
        begun = time.process_time()
        losses = self.net(x.to(memory_format=self.format), boxes, labels).losses
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        self.seconds.append(time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="a folder with the blood cells; without it: noise with as many boxes")
    parser.add_argument("--pair", choices=list(PAIRS), default="resnet50")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--profile", action="store_true", help="what YOLO's step spends its time on")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    batch = pictures(asked.batch, asked.data)
    fcos, yolo = PAIRS[asked.pair]
    makers: dict[str, Callable[[], nn.Module]] = {
        "fcos": partial(TorchvisionDetector, "fcos", 3, 3, **fcos),
        "yolo": partial(YOLO, 3, 3, **yolo),
    }
    runs = [Run(name, make(), channels_last=last) for last in (False, True) for name, make in makers.items()]
    for _ in range(asked.steps):
        for run in runs:
            run.step(*batch)
    best: dict[str, float] = {}
    for run in runs:
        weights = sum(each.numel() for each in run.net.parameters()) / 1e6
        seconds = median(run.seconds[2:])
        best[run.name] = min(seconds, best.get(run.name, seconds))
        least = min(run.seconds)
        layout = "channels last" if run.format == torch.channels_last else "contiguous"
        print(f"{run.name:5} {weights:5.1f} M weights, {layout:13}: {seconds:.3f} s a step, least {least:.3f}")
    print(f"YOLO / FCOS: {best['yolo'] / best['fcos']:.2f}")
    if asked.profile:
        from torch.profiler import ProfilerActivity, profile

        chosen = runs[-1]
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(3):
                chosen.step(*batch)
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=30))


if __name__ == "__main__":
    main()
