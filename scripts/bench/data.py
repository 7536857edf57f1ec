"""How fast each kind of data reaches the loop, beside a loader written by hand, with worker processes and without.

Run: python scripts/bench/data.py [--seconds 3] [--rounds 3]
The loaders of one kind take turns. By hand means torch's DataLoader over a data set that answers one example at a time,
as its documentation shows. Images and tables are made up; the text is made of the words of this file.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

import lantu
from lantu.config.build import build

ROWS, BATCH = 2000, 64


class Examples(Dataset):
    """Answers one example at a time."""

    def __init__(self, count: int, answer: Callable[[int], Any]) -> None:
        self._count, self._answer = count, answer

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._answer(index)


def images(folder: Path) -> tuple[list[str], Dataset]:
    """A folder of PNG files, and the same read by hand: decoded at every access."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(ROWS):
        path = folder / "images" / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
        paths.append(path)

    def decoded(index: int) -> Any:
        with Image.open(paths[index]) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - 0.5) / 0.25, index % 10

    return ["data=image_folder", f"data.path={folder}/images"], Examples(ROWS, decoded)


def table(folder: Path) -> tuple[list[str], Dataset]:
    """A CSV file of ten columns, and the same as rows of a tensor."""
    values = torch.randn(ROWS, 10)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{number}" for number in range(10)), "y"])
        writer.writerows([*row, "yes" if sum(row) > 0 else "no"] for row in values.tolist())
    return ["data=csv", f"data.path={folder}/table.csv", "data.target=y", "model=mlp"], Examples(
        ROWS, lambda i: (values[i], i % 2)
    )


def tokens(folder: Path) -> tuple[list[str], Dataset]:
    """Running text by characters, and the same cut out of one tensor."""
    (folder / "text").mkdir()
    text = Path(__file__).read_text() * 100
    (folder / "text" / "all.txt").write_text(text)
    numbers = torch.tensor(np.frombuffer(text.encode(), dtype=np.uint8).copy(), dtype=torch.long)
    cut = Examples(len(numbers) // 64 - 1, lambda i: (numbers[64 * i : 64 * i + 64], numbers[64 * i + 1 : 64 * i + 65]))
    return ["data=text_files", f"data.path={folder}/text", "data.context=64", "model=gpt"], cut


KINDS = {"images, 32x32 PNG": images, "table, 10 columns": table, "text, 64 characters": tokens}


def rate(loader: Any, seconds: float) -> float:
    """Batches a second, epochs included."""
    count, begin = 0, time.perf_counter()
    while True:
        for _ in loader:
            count += 1
            if time.perf_counter() - begin > seconds:
                return count / (time.perf_counter() - begin)


def main() -> None:
    """Time all loaders, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="for each loader and round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            overrides, by_hand = kind(Path(folder))
            loaders: dict[str, Any] = {}
            for workers in (0, 2):
                loaders[f"by hand, {workers} workers"] = DataLoader(
                    by_hand, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
                )
                data = build(lantu.compose(*overrides, f"data.batch_size={BATCH}", f"paths.root={folder}").cfg.data)
                data.workers = workers  # tables, which lie in memory, have no such option in their config
                data.prepare_data()
                data.setup("fit")
                loaders[f"ours, {workers} workers"] = data.train_dataloader()
            rates: dict[str, list[float]] = {title: [] for title in loaders}
            for _ in range(asked.rounds):
                for title, loader in loaders.items():
                    rates[title].append(rate(loader, asked.seconds))
        reference = statistics.median(rates["by hand, 0 workers"])
        shown = Table(name, "batches/s", "examples/s", "of by hand", title=f"batches of {BATCH}", title_justify="left")
        for title, each in rates.items():
            median = statistics.median(each)
            shown.add_row(title, f"{median:,.0f}", f"{median * BATCH:,.0f}", f"{median / reference:.2f}")
        Console().print(shown)


if __name__ == "__main__":
    main()
