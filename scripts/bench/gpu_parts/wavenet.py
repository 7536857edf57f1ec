"""WaveNet: a training step over seconds of recordings, and samples a second that it generates."""

import argparse
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from lantu.models import WaveNet
from lantu.models.wavenet_generation import generate
from scripts.bench.gpu_parts.common import Row, median_seconds, on_gpu, part


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """The small net of conf/model/wavenet.yaml and a larger one; recordings at 8 kHz, nothing said to it."""
    device = "cuda" if on_gpu() else "cpu"
    sizes = {"tiny": (8, 8, 3)} if asked.tiny else {"32 channels, 9 layers": (32, 64, 9), "128, 20": (128, 256, 20)}
    streams = (1, 2) if asked.tiny else (1, 64, 1024)
    seconds, samples = (1, 64) if asked.tiny else (16, 400)
    for name, (channels, skip, layers) in sizes.items():
        torch.manual_seed(0)
        net = WaveNet(80, 80, 0, condition="none", channels=channels, skip=skip, layers=layers).to(device)
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        step = median_seconds(partial(train, net, optimizer, batch_of(seconds, device)), repeats=5)
        yield {"network": name, "work": f"train on {seconds} s", "ms": 1e3 * step, "audio s/s": seconds / step}
        net.eval()
        for count in streams:
            uniform = torch.rand(count, samples)
            spent = median_seconds(partial(generate, net, None, uniform), repeats=1)
            rate = count * samples / spent
            yield {"network": name, "work": f"generate {count} at once", "samples/s": rate, "audio s/s": rate / 8000}


def batch_of(seconds: int, device: str) -> dict[str, Tensor]:
    """So many recordings of a second at 8 kHz."""
    whole = torch.full((seconds,), 8000, device=device)
    return {
        "codes": torch.randint(256, (seconds, 8000), device=device), "begin": torch.zeros_like(whole),
        "scored": whole, "ends": whole,
    }  # fmt: skip


def train(net: WaveNet, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> None:
    """A step by hand, at bf16 where there is a GPU."""
    net.train()
    with torch.autocast("cuda" if on_gpu() else "cpu", torch.bfloat16, enabled=on_gpu()):
        loss = net(batch)["nats"].sum() / batch["scored"].sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    part(measure)
