"""Speed of speech models, on one thread: python scripts/bench/speech.py [generate] [stream] [train] [features].

Prints samples per second of WaveNet's three ways to generate, the time of a causal recogniser for 80 ms of speech,
seconds of speech per second of training beside a hand-written loop, and seconds of speech per second of log-mels.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from pytorch_lightning import Trainer

from lantu.data import Raw, SpeechDataModule
from lantu.data.audio.features import LogMel
from lantu.models import CTCNetwork, WaveNet
from lantu.models.ctc import StreamState
from lantu.models.wavenet_generation import generate
from lantu.tasks import SpeechRecognition

RATE = 8000
EPOCHS = 1


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for part in asked.parts or PARTS:
        PARTS[part]()


def generation() -> None:
    """Samples per second of WaveNet."""
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


def streaming() -> None:
    """Latency of a causal recogniser."""
    net, state = CTCNetwork(40, 30, causal=True).eval(), StreamState()
    with torch.inference_mode():
        chunks = rate(lambda: [net.stream(torch.randn(1, 40, 8), state) for _ in range(50)], 50)
    print(f"causal recogniser: {1000 / chunks:.2f} ms of processor time for 80 ms of speech")


def training() -> None:
    """Seconds of speech per processor second of an epoch: the platform's loop and one written by hand."""
    data = SpeechDataModule(source=recordings, batch_seconds=40)
    data.prepare_data()
    seconds = sum(data.splits["train"].lengths) * data.frame_seconds  # type: ignore[attr-defined]
    optimizer = partial(torch.optim.AdamW, lr=1e-3)

    def by_platform() -> None:
        net = CTCNetwork(40, data.spec["outputs"], recurrent=True)
        task = SpeechRecognition(net, characters=data.spec["characters"], optimizer=optimizer)
        trainer = Trainer(
            max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(task, data)

    def by_hand() -> None:
        net = CTCNetwork(40, data.spec["outputs"], recurrent=True).train()
        steps = optimizer(net.parameters())
        for x, y in chain.from_iterable(data.train_dataloader() for _ in range(EPOCHS)):
            output = net(x)
            log_probs = output["logits"].log_softmax(-1).transpose(0, 1)
            torch.nn.functional.ctc_loss(log_probs, y["tokens"], output["lengths"], y["lengths"]).backward()
            steps.step()
            steps.zero_grad()

    for name, run in (("lantu", by_platform), ("by hand", by_hand)):
        print(f"training, {name}: {rate(run, EPOCHS) * seconds:,.0f} s of speech a processor second")


def features() -> None:
    """Seconds of speech whose log-mels are computed in a second: by one thread, and on a GPU where there is one."""
    mel, waves = LogMel(rate=RATE), torch.randn(16, 5 * RATE)
    print(f"log-mels on a processor: {rate(lambda: mel(waves), 1) * waves.numel() / RATE:,.0f} s of speech a second")
    if torch.cuda.is_available():
        import torchaudio

        transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=256, win_length=200, hop_length=80, n_mels=40)
        there, on_device = transform.cuda(), waves.cuda()
        there(on_device)
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(20):
            there(on_device)
        torch.cuda.synchronize()
        done = 20 * waves.numel() / RATE / (time.perf_counter() - begun)
        print(f"log-mels on the GPU: {done:,.0f} s of speech a second")


def recordings() -> Raw:
    """Noise of one to eight seconds with texts of about twelve characters a second, a sixth of it for validation."""
    rng = np.random.default_rng(0)
    lengths = rng.uniform(1, 8, size=120)
    folder = Path(tempfile.mkdtemp())
    texts, files = [], []
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.normal(size=int(length * RATE)), RATE)
        files.append(str(folder / f"{number}.wav"))
        texts.append("".join(rng.choice(list("abcdefghij "), size=int(12 * length))))
    split = np.where(np.arange(len(lengths)) < 100, "train", "val")
    return Raw(name="noise", rows=pd.DataFrame({"audio": files, "transcription": texts}), split=split)


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


PARTS = {"generate": generation, "stream": streaming, "train": training, "features": features}

if __name__ == "__main__":
    main()
