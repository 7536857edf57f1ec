"""Speed of generated speech and of recognition as it arrives, on one thread: python scripts/bench/speech.py.

Prints samples per second of WaveNet's three ways to generate, and the time of a causal recogniser for 80 ms of speech.
"""

import argparse
import time
from collections.abc import Callable

import torch

from lantu.models import CTCNetwork, WaveNet
from lantu.models.ctc import StreamState
from lantu.models.wavenet_generation import generate

RATE = 8000


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    print("samples per second and processor second of one stream; 8,000 are real time at 8 kHz")
    for layers in (9, 18):
        net = WaveNet(80, 40, 30, layers=layers).eval()
        cond = net.conditioning(torch.randn(1, 96, 200), None)
        with torch.inference_mode():
            naive = rate(lambda net=net, cond=cond: naive_samples(net, cond, 20), 20)  # type: ignore[misc]
        stepwise = rate(lambda net=net, cond=cond: generate(net, cond, torch.rand(1, 400), fused=False), 400)  # type: ignore[misc]
        fused = rate(lambda net=net, cond=cond: generate(net, cond, torch.rand(1, 16000), fused=True), 16000)  # type: ignore[misc]
        print(
            f"field {net.field:5,}  naive {naive:7,.0f}   cached (torch) {stepwise:7,.0f}   "
            f"cached (fused) {fused:8,.0f}, {fused / RATE:.1f} times real time"
        )
    net_c, state = CTCNetwork(40, 30, causal=True).eval(), StreamState()
    with torch.inference_mode():
        chunks = rate(lambda: [net_c.stream(torch.randn(1, 40, 8), state) for _ in range(50)], 50)
    print(f"causal recogniser: {1000 / chunks:.2f} ms of processor time for 80 ms of speech")


def naive_samples(net: WaveNet, cond: torch.Tensor | None, count: int) -> None:
    """Compute the whole field anew for each sample."""
    frames = net.context_frames
    before = torch.zeros(1, frames * net.hop, dtype=torch.long)
    for _ in range(count):
        net.logits(before, None if cond is None else cond[:frames])


def rate(run: Callable[[], object], count: int) -> float:
    """How many of `count` things are done in a processor second; the first run warms up."""
    run()
    begun = time.process_time()
    run()
    return count / (time.process_time() - begun)


if __name__ == "__main__":
    main()
