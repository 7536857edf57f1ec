"""A training step of a detector at bf16: our YOLO in our loop and by hand, and torchvision's FCOS by hand."""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lantu.log_noise import without_noise
from lantu.models import YOLO, TorchvisionDetector
from lantu.optim import parameter_groups
from lantu.tasks import Detection
from lantu.training.loop.compile import speed_up
from lantu.training.loop.lean_loop import make_lean
from scripts.bench.gpu_parts.common import AfterStep, Data, Row, Turns, on_gpu, part, trainer, usual_callbacks

CLASSES, BOXES = 20, 12


class Pictures(Dataset):
    """One batch of noise with boxes, again and again, as `lantu.data.BoxDataModule` makes them."""

    def __init__(self, pictures: int, side: int) -> None:
        corner = torch.rand(pictures, BOXES, 2) * side * 0.7
        size = torch.rand(pictures, BOXES, 2) * side * 0.25 + 8
        self.x = torch.randn(pictures, 3, side, side).contiguous(memory_format=torch.channels_last)
        self.y = {
            "boxes": torch.cat((corner, corner + size), dim=2),
            "labels": torch.randint(CLASSES, (pictures, BOXES)),
            "crowd": torch.zeros(pictures, BOXES, dtype=torch.bool),
        }
        if on_gpu():
            self.x, self.y = self.x.pin_memory(), {name: each.pin_memory() for name, each in self.y.items()}

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        if number >= len(self):
            raise IndexError(number)
        return self.x, self.y


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The loops in turns, without compiling; 16 pictures of 640 x 640 a step."""
    without_noise()
    torch.backends.cudnn.benchmark = True
    pictures, side = (2, 64) if asked.tiny else (16, 640)
    data = Pictures(pictures, side)
    loops: dict[str, Callable[[Callable[[], bool]], None]] = {
        "YOLO small, ours": partial(ours, data),
        "YOLO small, by hand": partial(by_hand, data, yolo),
        "FCOS, ResNet-18, by hand": partial(by_hand, data, fcos),
    }
    turns = Turns(list(loops), steps=1 if asked.tiny else 8, slices=1 if asked.tiny else 5)
    turns.run(loops)
    for name in loops:
        if name in turns.errors:
            yield {"loop": name, "failed": turns.errors[name]}
            continue
        step = statistics.median(turns.seconds[name])
        row: Row = {"loop": name, "ms a step": 1e3 * step, "images/s": pictures / step}
        yield row | ({"peak GiB": turns.peak_gib[name]} if on_gpu() else {})


def yolo() -> nn.Module:
    """The small preset, 9 million weights."""
    return YOLO(3, CLASSES, depth_factor=0.33, width_factor=0.5, most_channels=1024)


def fcos() -> nn.Module:
    """torchvision's, on a pyramid of 128 channels over a ResNet-18: 14 million weights."""
    return TorchvisionDetector("fcos", 3, CLASSES, backbone="resnet18", width=128)


def ours(data: Pictures, step_done: Callable[[], bool]) -> None:
    """Lightning's loop with our step, our task and the callbacks that every run has."""
    torch.manual_seed(0)
    net = yolo()
    speed_up(net, compiled=False, channels_last=True)
    optimizer: Any = partial(torch.optim.AdamW, fused=True)
    task = Detection(net, class_names=[str(number) for number in range(CLASSES)], optimizer=optimizer)
    with tempfile.TemporaryDirectory() as folder:
        fitting = trainer(folder, [*usual_callbacks(), AfterStep(step_done)], benchmark=True)
        make_lean(fitting)
        fitting.fit(task, Data(data))


def by_hand(data: Pictures, network: Callable[[], nn.Module], step_done: Callable[[], bool]) -> None:
    """What one would write around a detector."""
    torch.manual_seed(0)
    device = torch.device("cuda" if on_gpu() else "cpu")
    net = network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(parameter_groups(net), fused=True)
    for number in range(len(data)):
        x, y = data[number]
        x, y = x.to(device, non_blocking=True), {name: each.to(device, non_blocking=True) for name, each in y.items()}
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu()):
            losses = net(x, y["boxes"], y["labels"]).losses
        sum(losses.values()).backward()
        optimizer.step()
        if not step_done():
            return


if __name__ == "__main__":
    part(measure)
