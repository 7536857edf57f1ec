"""How long a person waits for an answer that needs no training, beside importing pytorch_lightning.

Run: python scripts/bench/startup.py [--runs 5]
Each command is a process of its own; they take turns, so that a busy machine slows all of them alike.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

REFERENCE = "import pytorch_lightning"
COMMANDS = {
    REFERENCE: [sys.executable, "-c", REFERENCE],
    "lantu --help": [sys.executable, "-m", "lantu", "--help"],
    "lantu train --help": [sys.executable, "-m", "lantu", "train", "--help"],
    "lantu train --cfg job": [sys.executable, "-m", "lantu", "train", "--cfg", "job"],
    "lantu train optimizer.wd=1 (a typo)": [sys.executable, "-m", "lantu", "train", "optimizer.wd=1"],
    "lantu catalog": [sys.executable, "-m", "lantu", "catalog"],
}


def main() -> None:
    """Time every command and print medians and ratios."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(runs + 1):
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, capture_output=True, check=False)
                if turn:  # the first turn warms the file cache
                    seconds[name].append(time.perf_counter() - start)
    reference = statistics.median(seconds[REFERENCE])
    table = Table("command", "median s", "min to max", "of the reference", title=f"start-up, {runs} runs")
    for name, times in seconds.items():
        median = statistics.median(times)
        table.add_row(name, f"{median:.2f}", f"{min(times):.2f} to {max(times):.2f}", f"{median / reference:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
