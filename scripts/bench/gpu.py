"""All that is to be known of one GPU, in at most eight minutes: tests, kernels, GPT-2, images, YOLO, steps, speech.

Run: python scripts/bench/gpu.py --nanogpt CHECKOUT --out FOLDER [--minutes 8] [--only PART ...] [--skip PART ...]
                               [--size 124m|355m|774m] [--batch TEXTS]
     python scripts/bench/gpu.py --tiny --cpu --out FOLDER      # every part on small networks, to see that it works
CHECKOUT is a clone of karpathy/nanoGPT; without it only our loop is measured. Every part is a process with a time of
its own: one that fails prints its error, and the next one goes on. FOLDER gets results.json, which is written after
every part, profile.txt with the kernels of each GPT-2 loop by the time that they take, and the log of each part.
What is compared takes turns in one process, so that all of it meets the same machine.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = {
    "kernels": 75,
    "tests": 200,
    "gpt": 300,
    "steps": 50,
    "resnet": 60,
    "detection": 60,
    "memory": 100,
    "wavenet": 60,
    "writing": 50,
}
"""The parts in their order, and the most that each may take."""
ENDED = "tests.ended"
"""The file that says that the tests, which run while GPT-2 is compiled, no longer disturb what is timed."""


LOCK = threading.Lock()


def main() -> None:
    """Run the parts one after the other, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--batch", type=int, default=32, help="texts of a step of GPT-2")
    parser.add_argument("--size", choices=("124m", "355m", "774m"), default="124m", help="weights of that GPT-2")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--skip", nargs="+", choices=SECONDS, default=[])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    if not asked.cpu and not has_gpu():
        parser.error("there is no GPU here; --tiny --cpu shows that the script works")
    asked.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * asked.minutes
    results: dict[str, Any] = {"parts": {}, "not measured": []}
    tests: threading.Thread | None = None
    for name, most in SECONDS.items():
        left = ends - time.monotonic()
        if name not in asked.only or name in asked.skip:
            results["not measured"].append(f"{name}: skipped as asked")
        elif left < 15:
            results["not measured"].append(f"{name}: no time was left of the {asked.minutes:g} minutes")
        elif name == "tests":
            tests = threading.Thread(target=measure, args=(name, asked, min(left, most), results))
            tests.start()
            if "gpt" not in asked.only or "gpt" in asked.skip:
                tests.join()
        else:
            measure(name, asked, min(left, most), results)
            if name == "gpt" and tests:
                tests.join()
    print("\n".join(results["not measured"]))


def measure(name: str, asked: argparse.Namespace, seconds: float, results: dict[str, Any]) -> None:
    """Run a part, keep what it found and print it."""
    begun = time.monotonic()
    if name == "tests":
        (asked.out / ENDED).unlink(missing_ok=True)
    found = run_part(name, asked, seconds=seconds)
    if name == "tests":
        (asked.out / ENDED).touch()
    with LOCK:
        results["parts"][name] = {"seconds": round(time.monotonic() - begun, 1), **found}
        (asked.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        print_part(name, results["parts"][name])


def run_part(name: str, asked: argparse.Namespace, *, seconds: float) -> dict[str, Any]:
    """One part in a process of its own; what it left, and how it ended if not well."""
    result, log = asked.out / f"{name}.part.json", asked.out / f"{name}.log"
    result.unlink(missing_ok=True)
    if name == "tests":
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-m",
            "gpu",
            "tests/gpu",
            "-p",
            "no:cacheprovider",
            "--durations=20",
        ]
    else:
        command = [sys.executable, "-m", f"scripts.bench.gpu_parts.{name}", "--out", str(result)]
        command += [
            "--batch",
            str(asked.batch),
            "--size",
            asked.size,
            *(["--tiny"] * asked.tiny),
            *(["--cpu"] * asked.cpu),
        ]
        command += ["--nanogpt", str(asked.nanogpt.absolute())] if asked.nanogpt else []
        command += ["--profile", str((asked.out / "profile.txt").absolute())] if name == "gpt" else []
        beside = name == "gpt" and "tests" in asked.only and "tests" not in asked.skip
        command += ["--wait-for", str((asked.out / ENDED).absolute())] if beside else []
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths, **({"CUDA_VISIBLE_DEVICES": ""} if asked.cpu else {})},
        )  # fmt: skip
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with the processes that it has started
            process.wait()
            status = None
    found: dict[str, Any] = json.loads(result.read_text()) if result.is_file() else {}
    result.unlink(missing_ok=True)
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if name == "tests":
        found["rows"] = [{"test": line.split("::")[-1][:300]} for line in text if _tells(line)]
    if status is None:
        found["error"] = f"stopped after {seconds:.0f} s, its time"
    elif status and "error" not in found:
        found["error"] = f"ended with status {status}: {' / '.join(text[-3:])[:500]}"
    return found


def _tells(line: str) -> bool:
    """Whether a line of pytest's says how a test, or all of them, ended."""
    return line.startswith(("FAILED", "ERROR", "SKIPPED", "E  ", "=====")) or " PASSED" in line


def print_part(name: str, found: dict[str, Any]) -> None:
    """A table of a part's rows."""
    from rich.console import Console
    from rich.table import Table

    rows = found.get("rows", [])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    where = f", {found['device']}, torch {found['torch']}" if "device" in found else ""
    table = Table(*columns, title=f"{name}: {found['seconds']} s{where}", title_justify="left")
    for row in rows:
        table.add_row(*[shown(row.get(column, "")) for column in columns])
    console = Console(width=150)
    console.print(table)
    if "error" in found:
        console.print(f"{name} did not end well: {found['error']}", markup=False)


def shown(value: Any) -> str:
    """A number with as many digits as say something."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.3f}"


def has_gpu() -> bool:
    """Whether NVIDIA's driver shows a GPU."""
    sys.path.insert(0, str(ROOT / "src"))
    from lantu.config.accelerators import gpus

    return bool(gpus().generations)


if __name__ == "__main__":
    main()
