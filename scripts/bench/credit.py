"""`experiment=credit_scoring` beside logistic regression and gradient-boosted trees, by cross-validation.

python scripts/bench/credit.py --mirror ../shared/data [--sets credit,hmda] [--models tabm,scorecard] [--folds 5]

Every fold is a test part once; models and baselines see the same rows and features. Printed are means over the folds,
with 95% intervals of the mean differences (Student's t over folds, which ignores that their training rows overlap).
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

SETS = {
    "credit": ["data=credit"],
    "hmda": ["data=hmda"],
    "lending_club": ["data=lending_club"],
    "lending_club without the lender's score": ["data=lending_club", "data.ignore=[int_rate,sub_grade]"],
}
BASELINES = ("logistic", "boosting", "careful boosting")
FIGURES = ("auroc", "ks", "brier", "loss", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--sets", default="credit,hmda,lending_club")
    parser.add_argument("--models", default="tabm")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="further cuts into folds, each with another split_seed")
    parser.add_argument("--set", action="append", default=[], help="a further override of every training")
    parser.add_argument("--keep", type=Path, help="a JSON lines file to append every figure to")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in (each for each in SETS if any(each.startswith(one) for one in asked.sets.split(","))):
        found = []
        for repeat in range(asked.repeats):
            for fold in range(asked.folds):
                for model in asked.models.split(","):
                    row = measured(SETS[name], model, fold, repeat, asked)
                    found += [{"set": name, **each} for each in row]
                    if asked.keep:
                        with asked.keep.open("a") as file:
                            file.writelines(json.dumps(each) + "\n" for each in found[-len(row) :])
        show(name, pd.DataFrame(found))


def measured(options: list[str], model: str, fold: int, repeat: int, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Test figures of a model and of the baselines on one fold."""
    from lantu.config.composing import compose
    from lantu.training.run import run

    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = run(
            compose(
                "experiment=credit_scoring", *options, f"model={model}", f"data.folds={asked.folds}",
                f"data.fold={fold}", f"data.split_seed={repeat}", f"seed={repeat}", f"paths.mirror={asked.mirror}",
                "logger=none", "save_model=false", "callbacks.figures=null", "trainer.enable_progress_bar=false",
                f"paths.run={folder}", f"paths.store={folder}", *asked.set,
            )
        )  # fmt: skip
        seconds = time.perf_counter() - begun
    common = {"fold": fold, "repeat": repeat}
    found = [{"model": model, **common, "seconds": seconds, **{f: result.metrics[f"test/{f}"] for f in FIGURES}}]
    found[0] |= {"ece_if_perfect": result.metrics["test/ece_if_perfect"]}
    for name in ("linear", "classical"):
        figures = {f: result.metrics[f"baseline/{name}_{f}"] for f in FIGURES}
        found.append({"model": {"linear": "logistic", "classical": "boosting"}[name], **common, **figures})
    return [*found, {"model": "careful boosting", **common, **careful(result.data)}]


def careful(data: Any) -> dict[str, float]:
    """Figures of boosting with small trees, small steps and early stopping, which overfits small tables less."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    from lantu.tasks.baselines import figures_of_classes

    rows = {split: data.classical_features(split, np.arange(len(data.splits[split]))) for split in ("train", "test")}
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, max_leaf_nodes=8, max_iter=300, early_stopping=True, random_state=0
    ).fit(*rows["train"])
    figures = figures_of_classes(model.predict_proba(rows["test"][0]), rows["test"][1].astype(int))
    return {name: figures[name] for name in FIGURES}


def show(name: str, found: pd.DataFrame) -> None:
    """Means, and the differences to the baselines."""
    wide = found.drop_duplicates(["model", "fold", "repeat"]).set_index(["model", "fold", "repeat"])
    print(f"\n{name}: {len(wide.loc['logistic'])} folds")
    print(wide.groupby("model")[[*FIGURES, "ece_if_perfect", "seconds"]].mean().round(4).to_string())
    for model in (each for each in wide.index.unique("model") if each not in BASELINES):
        for baseline in BASELINES:
            gaps = {f: (wide.loc[model][f] - wide.loc[baseline][f]).to_numpy() for f in ("auroc", "ece")}
            said = ", ".join(f"{f} {gap.mean():+.4f} ± {half(gap):.4f}" for f, gap in gaps.items())
            print(f"{model} - {baseline}: {said}", flush=True)


def half(values: np.ndarray) -> float:
    """Half the width of the 95% interval of a mean."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


if __name__ == "__main__":
    main()
