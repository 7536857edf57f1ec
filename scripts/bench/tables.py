"""How networks do on everyday tables, beside scikit-learn on the same rows of the same split.

python scripts/bench/tables.py --data ../shared/data/tables [--seeds 5] [--tables flights,hmda] [--models mlp,tabm]
    [--results FILE.jsonl] [--minutes 9] [--jobs 4]

The baselines are gradient-boosted trees (HistGradientBoosting) with categories as such, and logistic or ridge
regression on the features that the network sees. A seed decides the split and the training. The figure is AUROC for two
classes, accuracy for more, R2 for numbers, on the test part. The interval is that of the mean over seeds (95%,
Student's t), of the paired difference where it is one.

With `--results`, each measurement is appended to a file, and what is there already is not measured again, so that the
bench can be run in pieces of `--minutes`. `--jobs` measures that many at a time, each in a process of its own with one
thread.
"""

import argparse
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

TARGETS = {
    "ames.csv": "Sale_Price", "credit_data.csv": "Status", "hmda.csv": "deny", "lending_club.parquet": "Class",
    "everyday/TitanicSurvival.csv": "survived", "everyday/diamonds.csv": "price", "everyday/email.csv": "spam",
    "everyday/flights.csv": "arr_delay", "everyday/hotel_rates.csv": "avg_price_per_room",
    "everyday/loans_full_schema.csv": "interest_rate", "everyday/movies.jsonl": "IMDB Rating",
    "everyday/restaurant_inspections.csv": "inspection_score", "everyday/stackoverflow.csv": "Remote",
    "everyday/titanic.csv": "survived", "everyday/wa_churn.csv": "churn",
}  # fmt: skip
IGNORED = {"everyday/loans_full_schema.csv": ["grade", "sub_grade"]}
"""Columns that copy the target."""
TABM = ["model=tabm", "optimizer.lr=2e-3", "optimizer.weight_decay=3e-4"]
ONE_HOT = "data.categories=one_hot"
MODELS = {
    "mlp": ["model=mlp"],
    "mlp auto": ["model=mlp", "data.numbers=auto", ONE_HOT],
    "mlp standard": ["model=mlp", "data.numbers=standard", ONE_HOT],
    "mlp quantile": ["model=mlp", "data.numbers=quantile", ONE_HOT],
    "tabm": TABM,
    "tabm auto": [*TABM, "data.numbers=auto", ONE_HOT],
    "tabm standard": [*TABM, "data.numbers=standard", ONE_HOT],
    "tabm quantile": [*TABM, "data.numbers=quantile", ONE_HOT],
}
"""Without `data.numbers`, the default encodings."""
RECIPE = [
    "callbacks=[checkpoint,early_stopping,finite_loss]", "trainer.max_epochs=60", "data.batch_size=128",
    "trainer.enable_progress_bar=false",
]  # fmt: skip
BASELINES = ("boosting", "linear")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", default="")
    parser.add_argument("--models", default="mlp,tabm", help=", ".join(MODELS))
    parser.add_argument("--set", action="append", default=[], help="a further override of every training")
    parser.add_argument("--results", type=Path, help="JSON lines: go on from them, and append to them")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin nothing new after so many")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    chosen = [name for name in TARGETS if not asked.tables or any(part in name for part in asked.tables.split(","))]
    models = asked.models.split(",")
    found = pd.DataFrame(stored(asked.results), columns=["table", "seed", "model", "figure", "value", "seconds"])
    wanted = [
        ((name, seed, model, asked.set, asked.data), {"with_baselines": model == models[0]})
        for seed, model, name in product(range(asked.seeds), models, chosen)
        if not ((found["table"] == name) & (found["seed"] == seed) & (found["model"] == model)).any()
    ]
    for measured in in_processes(measure, wanted, asked.jobs, time.monotonic() + 60 * asked.minutes):
        found = pd.concat([found, pd.DataFrame(measured)], ignore_index=True)
        if asked.results:
            with asked.results.open("a") as file:
                file.writelines(json.dumps(one) + "\n" for one in measured)
    found = found.drop_duplicates(["table", "seed", "model"])
    names = [*BASELINES, *models]
    print("| table | figure | seeds |", " | ".join(names), "| best network - best baseline | s |")
    print("|---|---|---|", "---|" * len(names), "---|---|", sep="")
    for name in chosen:
        of_table = found[(found["table"] == name) & found["model"].isin(names)]
        if set(models) <= set(of_table["model"]):
            print(line(name, of_table, names), flush=True)


def in_processes(
    function: Callable[..., list[dict[str, Any]]], calls: list[tuple[tuple[Any, ...], dict[str, Any]]], jobs: int,
    end: float,
) -> Iterator[list[dict[str, Any]]]:  # fmt: skip
    """What a function gives for each of its arguments, as it is ready.

    Args:
        calls: positional and keyword arguments.
        end: no call begins after this moment of the monotonic clock.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    left = iter(calls)
    running: set[Future[list[dict[str, Any]]]] = set()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(running) < jobs and time.monotonic() < end and (call := next(left, None)) is not None:
                running.add(pool.submit(function, *call[0], **call[1]))
            if not running:
                return
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for each in ready:
                yield each.result()


def stored(path: Path | None) -> list[dict[str, Any]]:
    """What earlier runs of the bench measured."""
    return [json.loads(each) for each in path.read_text().splitlines()] if path and path.exists() else []


def line(name: str, found: pd.DataFrame, names: list[str]) -> str:
    """A row of the table that is printed; of the seeds that every model has."""
    values = found.pivot_table(index="seed", columns="model", values="value")[names].dropna()
    means = values.mean()
    network, baseline = means[names[2:]].idxmax(), means[names[:2]].idxmax()
    gap = values[network] - values[baseline]
    cells = " | ".join(f"{means[each]:.3f}{interval(values[each])}" for each in names)
    seconds = found.loc[found["model"].isin(names[2:]), "seconds"].max()
    what = f"| {name} | {found['figure'].iloc[0]} | {len(values)} | {cells} "
    return what + f"| {gap.mean():+.3f}{interval(gap)} ({network}) | {seconds:.0f} |"


def interval(values: pd.Series) -> str:
    """Half the width of the 95% interval of a mean."""
    if len(values) < 2:
        return ""
    return f" ± {stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5:.3f}"


def measure(
    name: str, seed: int, model: str, further: list[str], folder: Path, *, with_baselines: bool
) -> list[dict[str, Any]]:
    """The test figures of a network, and of the baselines on the same split; none where the training fails."""
    from lantu.config.composing import compose
    from lantu.training.run import run

    warnings.simplefilter("ignore")
    with TemporaryDirectory() as store:
        begun = time.perf_counter()
        recipe = [
            *options_of(name, seed, folder),
            *RECIPE,
            *MODELS[model],
            *further,
            "trainer.enable_progress_bar=false",
        ]
        try:
            with redirect_stdout(StringIO()):
                result = run(
                    compose(*options_of(name, seed, folder), *recipe, f"paths.run={store}", f"paths.store={store}")
                )
        except Exception as error:
            print(f"{name}, seed {seed}, {model}: {error}", flush=True)
            return []
        seconds = time.perf_counter() - begun
    data = result.data
    kind = "R2" if data.spec["task"] == "regression" else "AUROC" if data.spec["classes"] == 2 else "accuracy"
    values = {**(baselines(data) if with_baselines else {}), model: float(result.metrics[f"test/{kind.lower()}"])}
    same = {"table": name, "seed": seed, "figure": kind, "seconds": seconds}
    return [{**same, "model": each, "value": value} for each, value in values.items()]


def options_of(name: str, seed: int, folder: Path) -> list[str]:
    """Of a training on a table; the seed decides the split too."""
    return [
        "data=csv", f"data.path='{folder / name}'", f"data.target='{TARGETS[name]}'", f"data.split_seed={seed}",
        f"seed={seed}", f"data.ignore=[{','.join(IGNORED.get(name, []))}]", "logger=none", "save_model=false",
    ]  # fmt: skip


def data_of(name: str, seed: int, folder: Path) -> Any:
    """A table as a training has it, with its splits."""
    from hydra.utils import instantiate

    from lantu.config.composing import compose

    data = instantiate(compose(*options_of(name, seed, folder), "model=mlp").cfg.data)
    data.prepare_data()
    data.setup("fit")
    return data


def baselines(data: Any) -> dict[str, float]:
    """Figures of scikit-learn's models on the same rows."""
    regression = data.spec["task"] == "regression"
    parts = {split: raw_rows(data, split) for split in ("train", "test")}
    x, y = parts["train"]
    texts = [column for column in x if x[column].dtype == object]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250)
    boosting = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(random_state=0)
    trees = make_pipeline(make_column_transformer((encoder, texts), remainder="passthrough"), boosting).fit(x, y)
    dense = {split: data.classical_features(split, np.arange(len(data.splits[split]))) for split in ("train", "test")}
    linear = (RidgeCV(np.logspace(-3, 3, 13)) if regression else LogisticRegression(max_iter=1000)).fit(*dense["train"])
    return {"boosting": figure(trees, parts["test"], data), "linear": figure(linear, dense["test"], data)}


def raw_rows(data: Any, split: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows before they became features: numbers, and categories as texts."""
    from lantu.data.table.column_values import read_numbers

    rows, part, target = data.arranged(data.source())
    rows = rows[part == split]
    frame = pd.DataFrame(index=rows.index)
    for column in data._columns:
        values = rows[column.name]
        is_text = column.kind in ("category", "text")
        frame[column.name] = (
            values.astype(str).astype(object).where(values.notna(), "missing")
            if is_text
            else read_numbers(column, values)
        )
    return frame, target.encode(rows[data.target]).numpy().reshape(-1)


def figure(model: Any, rows: tuple[Any, np.ndarray], data: Any) -> float:
    """R2, AUROC or accuracy of a fitted model on rows."""
    x, y = rows
    if data.spec["task"] == "regression":
        return float(r2_score(y, model.predict(x)))
    if data.spec["classes"] == 2:
        return float(roc_auc_score(y, model.predict_proba(x)[:, 1]))
    return float(accuracy_score(y, model.predict(x)))


if __name__ == "__main__":
    main()
