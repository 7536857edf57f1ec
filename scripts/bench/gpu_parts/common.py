"""What the parts share: the device, clocks that wait for it, loops that take turns, and the way results are left."""

import argparse
import gc
import json
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset

Row = dict[str, Any]


def part(measure: Callable[[argparse.Namespace], Iterator[Row]]) -> None:
    """The command line of a part: measure row by row, and keep what is there after each one.

    A row that raises ends the part with its error; the rows before it stay.
    """
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--wait-for", type=Path, help="a file without which nothing is timed yet; 150 s at most")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", default="124m", help="of the GPT-2: 124m, 355m or 774m weights")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    if asked.cpu:
        torch.cuda.is_available = lambda: False
    torch.set_float32_matmul_precision("high")
    rows: list[Row] = []
    found: dict[str, Any] = {"rows": rows, "device": device_name(), "torch": torch.__version__}
    try:
        for row in measure(asked):
            rows.append(row)
            asked.out.write_text(json.dumps(found, indent=1))
    except Exception as error:
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"[:2000]
        asked.out.write_text(json.dumps(found, indent=1))
        raise SystemExit(1) from error


def on_gpu() -> bool:
    """Whether this part measures a GPU."""
    return torch.cuda.is_available()


def device_name() -> str:
    """The card's name, or CPU."""
    return torch.cuda.get_device_name() if on_gpu() else "CPU"


def now() -> float:
    """The time when the GPU has done what it was given."""
    if on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def median_seconds(call: Callable[[], Any], *, repeats: int) -> float:
    """Median time of a call, after two that warm up."""
    times = []
    for _ in range(repeats + 2):
        begun = now()
        call()
        times.append(now() - begun)
    return statistics.median(times[2:])


@dataclass
class Turns:
    """Loops that take turns in one process, a slice of steps at a time, so that what slows the machine slows all alike.

    Each loop runs in a thread of its own and calls `step_done` after every step; only one runs at any time. The first
    slice warms up: it compiles, chooses kernels and asks for memory.
    """

    names: list[str]
    steps: int
    slices: int
    profiled_steps: int = 0
    wait_for: Path | None = None
    """A file that says when other programs no longer use the GPU."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of a step, in each slice."""
    peak_gib: dict[str, float] = field(default_factory=dict)
    """The most that tensors of this loop held in a slice."""
    profiles: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def run(self, loops: dict[str, Callable[[Callable[[], bool]], None]]) -> None:
        """Run all loops; each gets a function to call after every step, which says whether to go on."""
        if self.profiled_steps:
            with torch.profiler.profile():  # the first one must be the main thread's, or it sees no kernels
                pass
        self._turn, self._free = 0, threading.Condition()
        self._active = list(self.names)
        self._held = dict.fromkeys(self.names, 0)
        threads = [threading.Thread(target=self._live, args=(name, loops[name])) for name in self.names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def _live(self, name: str, loop: Callable[[Callable[[], bool]], None]) -> None:
        self._wait(name)
        clock = _Clock(self, name)
        try:
            loop(clock.step_done)
        except Exception as error:
            traceback.print_exc()
            self.errors[name] = f"{type(error).__name__}: {error}"[:1000]
        finally:
            self._leave(name)

    def _wait(self, name: str) -> None:
        with self._free:
            self._free.wait_for(lambda: self._active[self._turn % len(self._active)] == name)

    def pass_on(self, name: str) -> None:
        """Let the next loop run, and wait for one's own next turn."""
        with self._free:
            self._turn = (self._turn + 1) % len(self._active)
            self._free.notify_all()
        self._wait(name)

    def wait_for_quiet(self) -> None:
        """Wait, before anything is timed, for those who use the GPU beside this process."""
        deadline = time.monotonic() + 150
        while self.wait_for and not self.wait_for.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.wait_for = None

    def _leave(self, name: str) -> None:
        with self._free:
            self._turn %= len(self._active)
            self._active.remove(name)
            if self._active:
                self._turn %= len(self._active)
            self._free.notify_all()


class _Clock:
    """Counts and times the steps of one loop."""

    def __init__(self, turns: Turns, name: str) -> None:
        self._turns, self._name = turns, name
        self._step = self._slice = 0
        turns.seconds[name] = []
        self._at_rest = self._memory()
        self._begin()

    def _memory(self) -> int:
        return torch.cuda.memory_allocated() if on_gpu() else 0

    def _begin(self) -> None:
        if on_gpu():
            torch.cuda.reset_peak_memory_stats()
        self._begun = now()

    def step_done(self) -> bool:
        """After a step; False when it was the last one."""
        turns = self._turns
        self._step += 1
        if self._slice > turns.slices:  # the profile's
            return self._profile_step()
        if self._step < turns.steps:
            return True
        seconds, self._step = (now() - self._begun) / turns.steps, 0
        if self._slice == 0:
            turns._held[self._name] = self._memory() - self._at_rest
        else:
            turns.seconds[self._name].append(seconds)
            others = sum(held for name, held in turns._held.items() if name != self._name and name in turns._active)
            if on_gpu():
                peak = (torch.cuda.max_memory_allocated() - others) / 2**30
                turns.peak_gib[self._name] = max(peak, turns.peak_gib.get(self._name, 0.0))
        self._slice += 1
        if self._slice > turns.slices:
            return self._begin_profile()
        turns.pass_on(self._name)
        turns.wait_for_quiet()
        self._begin()
        return True

    def _begin_profile(self) -> bool:
        if not self._turns.profiled_steps:
            return False
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if on_gpu():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(activities=kinds)
        self._profile.__enter__()
        return True

    def _profile_step(self) -> bool:
        if self._step < self._turns.profiled_steps:
            return True
        now()
        self._profile.__exit__(None, None, None)
        by = "self_cuda_time_total" if on_gpu() else "self_cpu_time_total"
        table = self._profile.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=70)
        self._turns.profiles[self._name] = table
        return False


class AfterStep(Callback):
    """Tells a clock of every step of Lightning's loop, and ends training when it says so."""

    def __init__(self, step_done: Callable[[], bool]) -> None:
        self._step_done = step_done

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if not self._step_done():
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


class Data(LightningDataModule):
    """A data set whose items are whole batches, read over and over."""

    def __init__(self, batches: Dataset) -> None:
        super().__init__()
        self._batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self._batches, batch_size=None)


class Batches(Dataset):
    """Some batches, again and again, as often as a run may want; pinned where a GPU reads them."""

    def __init__(self, *batches: tuple[torch.Tensor, ...]) -> None:
        self._batches = [tuple(each.pin_memory() if on_gpu() else each for each in batch) for batch in batches]

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        if number >= len(self):
            raise IndexError(number)
        return self._batches[number % len(self._batches)]


def usual_callbacks() -> list[Callback]:
    """Those that every run has and that do something at a step; the meter only where codecarbon is installed."""
    from lantu.training import FiniteLoss, LearningRate

    callbacks: list[Callback] = [LearningRate(), FiniteLoss()]
    try:
        import codecarbon  # noqa: F401

        from lantu.cost import CostMeter
    except ImportError:
        return callbacks
    return [CostMeter(say=False), *callbacks]


def trainer(folder: str, callbacks: list[Callback], **options: Any) -> Trainer:
    """A trainer that prints and keeps nothing."""
    chosen: dict[str, Any] = {
        "accelerator": "gpu" if on_gpu() else "cpu", "devices": 1, "max_epochs": -1, "logger": False,
        "precision": "bf16-mixed" if on_gpu() else "32-true", "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False,
    }  # fmt: skip
    return Trainer(**chosen | options, default_root_dir=folder, callbacks=callbacks)


@contextmanager
def empty_gpu() -> Iterator[None]:
    """Free what was left before, and what is left after."""
    for _ in range(2):
        gc.collect()
        if on_gpu():
            torch.cuda.empty_cache()
        if _ == 0:
            yield
