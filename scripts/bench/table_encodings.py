"""Which encoding of a table's columns serves networks best, over all tables of the bench.

python -m scripts.bench.table_encodings --data ../shared/data/tables [--seeds 5] [--tables flights,hmda]
    [--variants "mlp auto,mlp piecewise"] [--results FILE.jsonl] [--minutes 9] [--jobs 4]

A variant is a network, an encoding of numbers, one of columns with many categories, and options of the training, such
as `mlp piecewise target dropout=0.2`. Each is trained on the same splits by the recipe of `tables.py` (early stopping
on the validation loss), in a plain loop without Lightning, on the GPU if there is one. Printed are the mean test
figures of each table and, for each variant, its mean distance to the best one of a table.
"""

import argparse
import copy
import json
import os
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.preprocessing import TargetEncoder
from torch import Tensor, nn

from scripts.bench import tables

NUMBERS = ("standard", "auto", "rank", "both", "piecewise", "all")
"""rank: normal scores; both: standard and rank; piecewise: standard, and piecewise linear between 16 quantiles
(Gorishniy et al. 2022); all: these and rank."""
MANY = ("", "target", "target_only")
"""For columns with many categories: what they have now; the mean target of their category (of other training rows) and
its frequency besides; these alone."""
LEVELS = np.linspace(0.005, 0.995, 100)
PIECES = 16
RECIPES: dict[str, dict[str, float]] = {
    "mlp": {"lr": 1e-3, "weight_decay": 0.01},
    "tabm": {"lr": 2e-3, "weight_decay": 3e-4, "dropout": 0.1},
}
TRAINING = {"batch": 128, "epochs": 60, "patience": 5, "dropout": 0.0}
Parts = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", default="")
    parser.add_argument("--variants", default=",".join(f"mlp {numbers}" for numbers in NUMBERS))
    parser.add_argument("--results", type=Path, help="JSON lines: go on from them, and append to them")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin nothing new after so many")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chosen = [name for name in tables.TARGETS if not asked.tables or any(t in name for t in asked.tables.split(","))]
    variants = asked.variants.split(",")
    found = pd.DataFrame(tables.stored(asked.results), columns=["table", "seed", "model", "figure", "value", "seconds"])
    end = time.time() + 60 * asked.minutes
    wanted: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((seed, name, asked.data, left, end), {})
        for seed, name in product(range(asked.seeds), chosen)
        if (left := [v for v in variants if v not in set(found[(found.table == name) & (found.seed == seed)].model)])
    ]
    for measured in tables.in_processes(measure, wanted, asked.jobs, time.monotonic() + 60 * asked.minutes):
        found = pd.concat([found, pd.DataFrame(measured)], ignore_index=True)
        if asked.results:
            with asked.results.open("a") as file:
                file.writelines(json.dumps(one) + "\n" for one in measured)
    show(found[found.model.isin(variants)])


def show(found: pd.DataFrame) -> None:
    """Mean figures, and how far each variant is from the best one, in the mean over tables."""
    means = found.groupby(["table", "model"]).value.mean().unstack()
    print(means.round(4).to_string())
    behind = means.sub(means.max(axis=1), axis=0)
    print(pd.DataFrame({"mean": behind.mean(), "worst": behind.min()}).round(4).sort_values("mean").to_string())


def measure(seed: int, name: str, folder: Path, variants: list[str], end: float) -> list[dict[str, Any]]:
    """The test figure of each variant on one split of a table; begins none after the time `end`."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = tables.data_of(name, seed, folder)
    rows, y = {}, {}
    for split in data.splits:
        whole, part, target = data.arranged(data.source())
        rows[split] = whole[part == split]
        y[split] = target.encode(rows[split][data.target]).numpy().reshape(-1)
    measured = []
    for variant in variants:
        if time.time() > end:
            break
        network, numbers, *more = variant.split()
        many = more.pop(0) if more and "=" not in more[0] else ""
        options = {**TRAINING, **RECIPES[network], **{key: float(value) for key, value in (m.split("=") for m in more)}}
        begun = time.perf_counter()
        x, numeric = encoded(data, rows, y["train"], numbers, many)
        figure, value = train(network, x, y, data.spec, numeric, seed=seed, **options)
        seconds = time.perf_counter() - begun
        measured.append({"table": name, "seed": seed, "model": variant, "figure": figure, "value": value})
        measured[-1]["seconds"] = round(seconds, 1)
    return measured


def encoded(data: Any, rows: Parts, y: np.ndarray, numbers: str, many: str) -> tuple[Parts, list[int]]:
    """Features (N, F) float32 of each split, and which of them are numbers."""
    from lantu.data.table.column_values import read_numbers
    from lantu.data.table.encode_columns import encode_column

    parts: list[Parts] = []
    numeric: list[int] = []
    width = 0

    def add(of_split: Parts, *, are_numbers: bool) -> None:
        nonlocal width
        more = of_split["train"].shape[1]
        numeric.extend(range(width, width + more) if are_numbers else ())
        width += more
        parts.append(of_split)

    for column in data._columns:
        own = {split: encode_column(column, rows[split][column.name]) for split in rows}
        if column.kind not in ("number", "date") or column.binary:
            if not (column.others and many == "target_only"):
                add(own, are_numbers=False)
            if column.others and many:
                add(of_targets({split: rows[split][column.name] for split in rows}, y), are_numbers=True)
            continue
        read = {split: read_numbers(column, rows[split][column.name]) for split in rows}
        values = {split: np.where(np.isfinite(found), found, column.median) for split, found in read.items()}
        first = 1 + column.scales
        add({split: own[split][:, first:] for split in own}, are_numbers=False)
        if numbers == "auto":
            add({split: own[split][:, :first] for split in own}, are_numbers=True)
        if numbers in ("standard", "both", "piecewise", "all"):
            add({s: (found[:, None] - column.mean) / column.std for s, found in values.items()}, are_numbers=True)
        if numbers in ("rank", "both", "all"):
            add(ranks(values), are_numbers=True)
        if numbers in ("piecewise", "all"):
            add(pieces(values), are_numbers=False)
    return {split: np.hstack([part[split] for part in parts]).astype(np.float32) for split in rows}, numeric


def ranks(values: Parts) -> Parts:
    """Normal scores of ranks (N, 1); equal values have the mean of theirs."""
    quantiles = np.quantile(values["train"], LEVELS)
    different = np.unique(quantiles)
    scores = np.array([ndtri(LEVELS)[quantiles == value].mean() for value in different])
    return {split: np.interp(found, different, scores)[:, None] for split, found in values.items()}


def pieces(values: Parts) -> Parts:
    """How far a value is through each interval between quantiles (N, K), from 0 to 1; less and more at the ends."""
    edges = np.unique(np.quantile(values["train"], np.linspace(0, 1, PIECES + 1)))
    found = {}
    for split, each in values.items():
        through = (each[:, None] - edges[:-1]) / np.diff(edges)
        inside = through.clip(0, 1)
        if inside.shape[1]:
            inside[:, 0] = through[:, 0].clip(-3, 1)
            inside[:, -1] = through[:, -1].clip(0 if inside.shape[1] > 1 else -3, 3)
        found[split] = inside
    return found


def of_targets(values: Parts, y: np.ndarray) -> Parts:
    """The mean target of a row's category and the logarithm of how often it occurs (N, 2).

    A training row's are of the other folds, so that its own target is not among them (Micci-Barreca 2001).
    """
    texts = {
        split: each.astype(str).fillna("missing").to_numpy(dtype=object)[:, None] for split, each in values.items()
    }
    encoder = TargetEncoder(target_type="continuous", random_state=0)
    means = {"train": encoder.fit_transform(texts["train"], y.astype(float))}
    counts = pd.Series(texts["train"][:, 0]).value_counts()
    found = {}
    for split, each in texts.items():
        mean = means[split] if split in means else encoder.transform(each)
        often = np.log1p(pd.Series(each[:, 0]).map(counts).fillna(0).to_numpy(dtype=float) - (split == "train"))
        found[split] = np.column_stack([mean, often])
    center, scale = found["train"].mean(0), found["train"].std(0)
    return {split: (each - center) / np.where(scale > 0, scale, 1) for split, each in found.items()}


def train(
    network: str, x: Parts, y: Parts, spec: dict[str, Any], numeric: list[int], *, seed: int, **options: float
) -> tuple[str, float]:
    """The name and value of the test figure, at the epoch of the lowest validation loss."""
    from lantu.models import MLP, TabM

    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    regression = spec["task"] == "regression"
    center, scale = (y["train"].mean(), y["train"].std()) if regression else (0, 1)
    xs = {split: torch.from_numpy(part).to(device) for split, part in x.items()}
    kind = torch.float32 if regression else torch.long
    ys = {split: torch.tensor((part - center) / scale, dtype=kind, device=device) for split, part in y.items()}
    outputs = 1 if regression else spec["classes"]
    net: nn.Module
    if network == "mlp":
        net = MLP(xs["train"].shape[1], outputs, dropout=options["dropout"]).to(device)
    else:
        task = {"task": spec["task"], "numeric_features": numeric, "dropout": options["dropout"]}
        net = TabM(xs["train"].shape[1], outputs, **task).to(device)
    groups = [[p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim <= 1]]
    decay = options["weight_decay"]
    settings = [{"params": group, "weight_decay": decay * (not i)} for i, group in enumerate(groups)]
    optimizer = torch.optim.AdamW(settings, lr=options["lr"], fused=True)

    def loss(answers: Tensor, target: Tensor) -> Tensor:
        if answers.ndim == 3:
            target = target.repeat_interleave(answers.shape[1])
            answers = answers.flatten(0, 1)
        if regression:
            return nn.functional.mse_loss(answers[:, 0], target)
        return nn.functional.cross_entropy(answers, target)

    @torch.no_grad()
    def predicted(split: str) -> Tensor:
        net.eval()
        answers = torch.cat([net(part) for part in xs[split].split(1024)])
        net.train()
        return answers

    best, state, since = np.inf, net.state_dict(), 0
    for _ in range(int(options["epochs"])):
        for batch in torch.randperm(len(xs["train"]), device=device).split(int(options["batch"])):
            optimizer.zero_grad(set_to_none=True)
            loss(net(xs["train"][batch]), ys["train"][batch]).backward()
            optimizer.step()
        if (now := float(loss(predicted("val"), ys["val"]))) < best:
            best, state, since = now, copy.deepcopy(net.state_dict()), 0
        elif (since := since + 1) >= options["patience"]:
            break
    net.load_state_dict(state)
    answers, truth = predicted("test").cpu().numpy(), ys["test"].cpu().numpy()
    if regression:
        return "R2", float(r2_score(truth, answers[:, 0]))
    if outputs == 2:
        return "AUROC", float(roc_auc_score(truth, answers[:, 1] - answers[:, 0]))
    return "accuracy", float(accuracy_score(truth, answers.argmax(1)))


if __name__ == "__main__":
    main()
