"""A recipe against nanoGPT's own program in the same minutes: whole processes in alternating slices.

Run: python scripts/bench/shakespeare.py NANOGPT [experiment=shakespeare_fast ...] [--slice 2] [--threads 2]
NANOGPT is a folder with nanoGPT's code and its prepared data (`python data/shakespeare_char/prepare.py`). It is trained
with the flags that its README documents for a CPU. While one program runs, the other is stopped (SIGSTOP), so that
whatever else keeps the machine busy slows both alike. Times are those in which a program was running; processor
seconds, of all its threads and processes, are what to compare on a machine with other work.
"""

import argparse
import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NANOGPT = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=10 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 "
    "--dropout=0.0"
)
POLL = 0.02  # seconds


class Program:
    """A training process that is stopped and let go on, and how far it came in the time it was given."""

    def __init__(self, command: list[str], *, folder: Path, log: Path, threads: int) -> None:
        self.log = log
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}
        with log.open("w") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment)
        self.seconds = self.processor_seconds = 0.0
        self.reached: list[tuple[float, int]] = []
        self.process.send_signal(signal.SIGSTOP)

    def step(self) -> int:
        """The last step that the program has said it took; 0 before the first."""
        raise NotImplementedError

    def run_for(self, seconds: float) -> None:
        """Let it go on for a while, or to its end."""
        before = _processor_seconds_of_ended()
        self.process.send_signal(signal.SIGCONT)
        begun = time.perf_counter()
        while self.process.poll() is None and time.perf_counter() - begun < seconds:
            time.sleep(POLL)
            step = self.step()
            if step and (not self.reached or step > self.reached[-1][1]):
                self.reached.append((self.seconds + time.perf_counter() - begun, step))
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
        self.seconds += time.perf_counter() - begun
        self.processor_seconds = _processor_seconds_of_ended() - before  # counted when a process has ended

    @property
    def milliseconds_a_step(self) -> float:
        (begin, first), (end, last) = self.reached[0], self.reached[-1]
        return 1000 * (end - begin) / (last - first)


def _processor_seconds_of_ended() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


class NanoGPT(Program):
    def step(self) -> int:
        return max((int(found) for found in re.findall(r"^iter (\d+):", self.log.read_text(), re.M)), default=0)


class Lantu(Program):
    """Reads the journal of the run."""

    def records(self) -> list[dict]:
        """What was logged at each step, of the journal; of its table once the journal is closed and small."""
        if files := list(self.log.parent.glob("mlruns/runs/**/records.jsonl")):
            lines = files[0].read_text().splitlines()
            return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        found = []
        for file in list(self.log.parent.glob("mlruns/runs/**/journal/metrics.csv"))[:1]:
            with file.open(newline="") as table:
                for row in csv.DictReader(table):
                    found.append({"step": int(row["step"]), "values": {row["metric"]: float(row["value"])}})
        return found

    def step(self) -> int:
        return max((each["step"] for each in self.records() if "train/loss" in each.get("values", {})), default=0)

    def last(self, name: str) -> float:
        return next(each["values"][name] for each in reversed(self.records()) if name in each.get("values", {}))


def main() -> None:
    """Run both to their ends and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nanogpt", type=Path)
    parser.add_argument("overrides", nargs="*", default=["experiment=shakespeare"])
    parser.add_argument("--slice", type=float, default=2.0, help="seconds that each program runs in turn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = "from lantu.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
        ours = Lantu(
            [sys.executable, "-c", train, "train", f"paths.root={folder}", *options.overrides],
            folder=folder, log=folder / "ours.log", threads=options.threads,
        )  # fmt: skip
        nano = NanoGPT(
            [sys.executable, *NANOGPT.split(), f"--out_dir={folder}/nanogpt"],
            folder=options.nanogpt, log=folder / "nanogpt.log", threads=options.threads,
        )  # fmt: skip
        programs: list[Program] = [nano, ours]
        try:
            while running := [each for each in programs if each.process.poll() is None]:
                for program in running:
                    program.run_for(options.slice)
        finally:  # a stopped program would stay for ever
            for program in programs:
                program.process.kill()
        if ours.process.returncode or nano.process.returncode:
            sys.exit(ours.log.read_text()[-2000:] + nano.log.read_text()[-2000:])
        theirs = re.findall(r"val loss ([\d.]+)", nano.log.read_text())[-1]
        print(f"{'':10} ms a step  steps  all seconds  processor seconds  val/loss")
        for title, program, loss in (("nanoGPT", nano, theirs), ("Lantu", ours, f"{ours.last('val/loss'):.4f}")):
            last = program.reached[-1][1]
            print(
                f"{title:10} {program.milliseconds_a_step:9.2f} {last:6} {program.seconds:12.1f} "
                f"{program.processor_seconds:18.1f}  {loss}"
            )
        print(
            f"nanoGPT's step takes {nano.milliseconds_a_step / ours.milliseconds_a_step:.2f} times ours, "
            f"its run {nano.seconds / ours.seconds:.2f} times ours, "
            f"{nano.processor_seconds / ours.processor_seconds:.2f} in processor time"
        )


if __name__ == "__main__":
    main()
