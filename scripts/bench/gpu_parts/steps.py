"""Short steps, in which the host decides: ours, Lightning's own, and a loop by hand."""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F

from lantu.log_noise import without_noise
from lantu.models import MLP
from lantu.optim import parameter_groups
from lantu.tasks import Classification
from lantu.training.loop.lean_loop import make_lean
from scripts.bench.gpu_parts.common import AfterStep, Batches, Data, Row, Turns, on_gpu, part, trainer, usual_callbacks
from scripts.bench.gpu_parts.resnet import loaded


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """A network of three matrices, in turns."""
    without_noise()
    batches = Batches(*[(torch.randn(64, 1, 8, 8), torch.randint(10, (64,))) for _ in range(16)])
    loops: dict[str, Callable[[Callable[[], bool]], None]] = {
        "by hand": partial(by_hand, batches),
        "ours": partial(ours, batches, lean=True),
        "ours, lean=false": partial(ours, batches, lean=False),
    }
    turns = Turns(list(loops), steps=2 if asked.tiny else 200, slices=1 if asked.tiny else 8)
    turns.run(loops)
    for name in loops:
        if name in turns.errors:
            yield {"loop": name, "failed": turns.errors[name]}
            continue
        yield {"loop": name, "ms a step": 1e3 * statistics.median(turns.seconds[name])}


def ours(batches: Batches, step_done: Callable[[], bool], *, lean: bool) -> None:
    """Lightning's loop, with our step or its own."""
    torch.manual_seed(0)
    task = Classification(MLP(64, 10, hidden=[64, 64]), classes=10, optimizer=partial(torch.optim.AdamW, fused=True))
    with tempfile.TemporaryDirectory() as folder:
        fitting = trainer(folder, [*usual_callbacks(), AfterStep(step_done)], precision="32-true")
        if lean:
            make_lean(fitting)
        fitting.fit(task, Data(batches))


def by_hand(batches: Batches, step_done: Callable[[], bool]) -> None:
    """What one would write around the same parts."""
    torch.manual_seed(0)
    device = torch.device("cuda" if on_gpu() else "cpu")
    net = MLP(64, 10, hidden=[64, 64]).to(device)
    optimizer = torch.optim.AdamW(parameter_groups(net), fused=True)
    for x, y in loaded(batches, device):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        if not step_done():
            return


if __name__ == "__main__":
    part(measure)
