"""ResNet-50 at bf16 with channels last: images a second of our loop and of one written by hand."""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.log_noise import without_noise
from lantu.optim import parameter_groups
from lantu.tasks import Classification
from lantu.training.loop.compile import speed_up
from lantu.training.loop.lean_loop import make_lean
from scripts.bench.gpu_parts.common import AfterStep, Batches, Data, Row, Turns, on_gpu, part, trainer, usual_callbacks

SGD: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-5, "nesterov": True, "fused": True}


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """Both loops in turns, without compiling."""
    without_noise()
    torch.backends.cudnn.benchmark = True
    images, side, classes = (2, 32, 5) if asked.tiny else (256, 224, 1000)
    made = [(torch.randn(images, 3, side, side), torch.randint(classes, (images,))) for _ in range(2)]
    batches = Batches(*[(x.contiguous(memory_format=torch.channels_last), y) for x, y in made])
    loops: dict[str, Callable[[Callable[[], bool]], None]] = {
        "ours": partial(ours, batches, classes),
        "by hand": partial(by_hand, batches, classes),
    }
    turns = Turns(list(loops), steps=1 if asked.tiny else 10, slices=1 if asked.tiny else 5)
    turns.run(loops)
    for name in loops:
        if name in turns.errors:
            yield {"loop": name, "failed": turns.errors[name]}
            continue
        step = statistics.median(turns.seconds[name])
        row: Row = {"loop": name, "ms a step": 1e3 * step, "images/s": images / step}
        yield row | ({"peak GiB": turns.peak_gib[name]} if on_gpu() else {})


def network(classes: int) -> nn.Module:
    """timm's ResNet-50; its ResNet-18 for a test's few classes."""
    torch.manual_seed(0)
    net: nn.Module = timm.create_model("resnet50" if classes >= 1000 else "resnet18", num_classes=classes)
    return net


def ours(batches: Batches, classes: int, step_done: Callable[[], bool]) -> None:
    """Lightning's loop with our step, our task and the callbacks that every run has."""
    net = network(classes)
    speed_up(net, compiled=False, channels_last=True)
    task = Classification(net, classes=classes, optimizer=partial(torch.optim.SGD, **SGD))
    with tempfile.TemporaryDirectory() as folder:
        fitting = trainer(folder, [*usual_callbacks(), AfterStep(step_done)], benchmark=True)
        make_lean(fitting)
        fitting.fit(task, Data(batches))


def by_hand(batches: Batches, classes: int, step_done: Callable[[], bool]) -> None:
    """What one would write around the same parts."""
    device = torch.device("cuda" if on_gpu() else "cpu")
    net = network(classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(parameter_groups(net), **SGD)
    for x, y in loaded(batches, device):
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu()):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        if not step_done():
            return


def loaded(batches: Batches, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
    """Batches copied from pinned memory without waiting."""
    for number in range(len(batches)):
        yield tuple(each.to(device, non_blocking=True) for each in batches[number])


if __name__ == "__main__":
    part(measure)
