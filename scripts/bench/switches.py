"""What each switch is worth on this machine: compile, channels_last, bf16-mixed, a fused optimizer, alone.

Run: python scripts/bench/switches.py [--seconds 20] [--compile]
Whole steps (forward, backward, AdamW) of networks of the catalogue on random data of fixed shape, in turns of a few
steps each, so that a busy machine slows all of them alike. Ratios are of processor time, which other programs disturb
less; set OMP_NUM_THREADS=1 where they do, since threads that wait for each other use it too.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.models import CNN, GPT
from lantu.training.loop.compile import speed_up
from lantu.training.loop.malloc import keep_freed_memory

TURN = 3  # steps


@dataclass(frozen=True)
class Switches:
    """What is on."""

    compiled: bool = False
    channels_last: bool = False
    bf16: bool = False
    fused: bool = True


ARMS = {
    "the defaults": Switches(),
    "optimizer.fused=false": Switches(fused=False),
    "channels_last=true": Switches(channels_last=True),
    "trainer.precision=bf16-mixed": Switches(bf16=True),
    "channels_last=true, bf16-mixed": Switches(channels_last=True, bf16=True),
    "compile=true": Switches(compiled=True),
    "compile=true, bf16-mixed": Switches(compiled=True, bf16=True),
}


def resnet() -> nn.Module:
    """ResNet-18 for small grey images."""
    import timm

    return timm.create_model("resnet18", in_chans=1, num_classes=10)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor, int]] = {
    "cnn, 64 images of 28x28": (lambda: CNN(1, 10), torch.randn(64, 1, 28, 28), 10),
    "resnet, 16 images of 32x32": (resnet, torch.randn(16, 1, 32, 32), 10),
    "gpt, 12 texts of 64 tokens": (lambda: GPT(65, 64), torch.randint(65, (12, 64)), 65),
}


def stepper(make: Callable[[], nn.Module], x: Tensor, classes: int, on: Switches) -> Callable[[], None]:
    """A network with its optimizer, ready to take steps on one batch."""
    torch.manual_seed(0)
    net = make()
    speed_up(net, compiled=on.compiled, channels_last=on.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), fused=on.fused)
    y = torch.randint(classes, x.shape if x.ndim == 2 else x.shape[:1])

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=on.bf16):
            output = net(x)
        F.cross_entropy(output.float().view(-1, classes), y.flatten()).backward()
        optimizer.step()

    return step


def main() -> None:
    """Time every network with every switch, and print medians and ratios."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each network")
    parser.add_argument("--compile", action="store_true", help="also compiled, which takes a minute or two at first")
    asked = parser.parse_args()
    keep_freed_memory()
    for name, (make, x, classes) in NETWORKS.items():
        arms = {
            title: stepper(make, x, classes, on)
            for title, on in ARMS.items()
            if (asked.compile or not on.compiled) and (x.ndim == 4 or not on.channels_last)
        }
        seconds: dict[str, list[float]] = {title: [] for title in arms}
        for step in arms.values():
            step()
        end = time.perf_counter() + asked.seconds
        while time.perf_counter() < end:
            for title, step in arms.items():
                step()  # the caches are the last arm's
                begin = time.process_time()
                for _ in range(TURN):
                    step()
                seconds[title].append((time.process_time() - begin) / TURN)
        table = Table(f"{name}, {torch.get_num_threads()} threads", "CPU ms a step", "speed-up")
        reference = statistics.median(seconds["the defaults"])
        for title, times in seconds.items():
            table.add_row(title, f"{1e3 * statistics.median(times):.1f}", f"{reference / statistics.median(times):.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
