"""How the defaults and model=tabm do on everyday tables, beside scikit-learn on the same split.

python scripts/bench/tables.py --data ../shared/data/tables [--seeds 5] [--tables flights,hmda] [--models mlp,tabm]

Baselines are what a careful person tries first: gradient-boosted trees (HistGradientBoosting) with categories as such,
and logistic or ridge regression on the features that the network sees. A seed decides the split and the training. The
figure is AUROC for two classes, accuracy for more, R2 for numbers, on the test part; the interval is that of the mean
over seeds (95%, Student's t), of the paired difference where it is one.
"""

import argparse
import time
import warnings
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
MODELS = {
    "mlp": ["model=mlp"],
    "tabm": ["model=tabm", "optimizer.lr=2e-3", "optimizer.weight_decay=3e-4"],
}
RECIPE = ["callbacks=[default,early_stopping]", "trainer.max_epochs=60", "data.batch_size=128", "data.numbers=quantile"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", default="")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--set", action="append", default=[], help="a further override of every training")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [name for name in TARGETS if not asked.tables or any(part in name for part in asked.tables.split(","))]
    names = ["boosting", "linear", *asked.models.split(",")]
    print("| table | figure |", " | ".join(names), "| best network - best baseline | s |")
    print("|---|---|", "---|" * len(names), "---|---|", sep="")
    for name in chosen:
        found, seconds = [], 0.0
        for seed in range(asked.seeds):
            one, took = measured(asked.data / name, name, seed, asked.models.split(","), asked.set)
            found.append(one)
            seconds = max(seconds, took)
        print(line(name, pd.DataFrame(found), names, seconds), flush=True)


def line(name: str, found: pd.DataFrame, names: list[str], seconds: float) -> str:
    means = found[names].mean()
    network, baseline = means[names[2:]].idxmax(), means[names[:2]].idxmax()
    gap = found[network] - found[baseline]
    cells = " | ".join(f"{means[each]:.3f}{interval(found[each])}" for each in names)
    what = found["figure"].iloc[0]
    return f"| {name} | {what} | {cells} | {gap.mean():+.3f}{interval(gap)} ({network}) | {seconds:.0f} |"


def interval(values: pd.Series) -> str:
    """Half the width of the 95% interval of a mean."""
    if len(values) < 2:
        return ""
    return f" ± {stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5:.3f}"


def measured(path: Path, name: str, seed: int, models: list[str], further: list[str]) -> tuple[dict[str, Any], float]:
    """Test figures of every model on one split, and the longest training in seconds."""
    from lantu.config.composing import compose
    from lantu.training.run import run

    options = [
        "data=csv", f"data.path='{path}'", f"data.target='{TARGETS[name]}'", f"data.split_seed={seed}", f"seed={seed}",
        f"data.ignore=[{','.join(IGNORED.get(name, []))}]", "logger=none", "save_model=false",
    ]  # fmt: skip
    found: dict[str, Any] = {}
    longest = 0.0
    data = None
    for model in models:
        with TemporaryDirectory() as folder:
            begun = time.perf_counter()
            recipe = [*RECIPE, *MODELS[model], *further, "trainer.enable_progress_bar=false"]
            result = run(compose(*options, *recipe, f"paths.run={folder}", f"paths.store={folder}"))
            longest = max(longest, time.perf_counter() - begun)
            data = result.data
            metrics = result.metrics
        kind = "R2" if data.spec["task"] == "regression" else "AUROC" if data.spec["classes"] == 2 else "accuracy"
        found |= {"figure": kind, model: metrics[f"test/{kind.lower()}"]}
    return {**baselines(data), **found}, longest


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
    rows, part, target = data.arranged(data.source())
    rows = rows[part == split]
    frame = pd.DataFrame(index=rows.index)
    for column in data._columns:
        values = rows[column.name]
        is_text = column.kind in ("category", "text")
        frame[column.name] = values.astype(object).where(values.notna(), "missing") if is_text else column.read(values)
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
