"""How good the predictions for new rows are where their targets are known, and an estimate where not."""

from typing import Any

import numpy as np
import pandas as pd

from lantu.monitoring.drift import Finding


def scores(frame: pd.DataFrame, target: str, *, classes: list[str] | None) -> np.ndarray | None:
    """Of each row whose target is known: 1 for a correct class, or minus the absolute error; None: no targets.

    Args:
        frame: predictions beside the rows' own columns.
        target: the column with what was right.
    """
    if target not in frame:
        return None
    known = frame[frame[target].notna()]
    if not len(known):
        return None
    if classes is not None:
        return (known[target].astype(str) == known["prediction"].astype(str)).to_numpy(dtype=float)
    truth = pd.to_numeric(known[target], errors="coerce")
    found: np.ndarray = -(known["prediction"] - truth).abs().dropna().to_numpy(dtype=float)
    return found if len(found) else None


def compare(before: np.ndarray, after: np.ndarray, *, least: float, name: str) -> Finding:
    """Whether new rows are predicted worse than those before: Welch's test, one-sided.

    The effect is the loss in accuracy, or for errors their growth as a share of the mean error before.
    """
    from scipy.stats import ttest_ind

    scale = 1.0 if name == "accuracy" else abs(float(before.mean())) or 1.0
    loss = float(before.mean() - after.mean()) / scale
    spread = float(before.std()) + float(after.std())
    p = float(ttest_ind(after, before, equal_var=False, alternative="less").pvalue) if spread > 0 else float(loss <= 0)
    shown = "accuracy" if name == "accuracy" else "mean absolute error"
    values = [abs(float(each.mean())) for each in (before, after)]
    note = f"{values[0]:.4g} to {values[1]:.4g} on {len(after):,} rows"
    return Finding("performance", shown, max(0.0, loss), least, p, note=note)


def estimated_accuracy(before: pd.DataFrame, confidence: np.ndarray) -> float:
    """Accuracy on rows without targets, by average thresholded confidence (Garg et al. 2022).

    The threshold is where the share of more confident validation rows equals the accuracy there. It assumes that the
    model's confidence means the same on the new rows; where they have drifted far, it does not.

    Args:
        before: validation rows with `target`, `prediction` and `probability`.
        confidence: the probabilities of the predictions for new rows (N,).
    """
    accuracy = float((before["target"].astype(str) == before["prediction"].astype(str)).mean())
    threshold = float(np.quantile(before["probability"], 1 - accuracy))
    return float(np.mean(confidence >= threshold))


def predictions(before: pd.DataFrame, after: pd.DataFrame, *, classes: list[str] | None) -> dict[str, dict[str, Any]]:
    """The distributions of the predictions of two tables, as `lantu.monitoring.drift` compares them."""
    if classes is not None:
        return {
            name: {"rows": len(each), "missing": 0, "counts": each["prediction"].astype(str).value_counts().to_dict()}
            for name, each in (("before", before), ("after", after))
        }
    found: dict[str, dict[str, Any]] = {}
    for name, each in (("before", before), ("after", after)):
        points = np.sort(each["prediction"].to_numpy(dtype=float))
        found[name] = {
            "rows": len(points), "missing": 0, "points": points, "low": float(points[0]), "high": float(points[-1]),
        }  # fmt: skip
    return found


def classifier_test(before: np.ndarray, after: np.ndarray, *, least: float, most: int = 2000) -> Finding:
    """Whether a classifier can tell two sets of rows apart (Lopez-Paz and Oquab 2017).

    Boosted trees are fitted in five folds. The effect is how far their AUC is above 0.5, twice; p is that of the
    Mann-Whitney test of the out-of-fold scores.

    Args:
        before, after: features (N, F).
        most: rows of each that are used.
    """
    from scipy.stats import mannwhitneyu
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    random = np.random.default_rng(0)
    size = min(most, len(before), len(after))
    one, two = (each[random.permutation(len(each))[:size]] for each in (before, after))
    x, y = np.concatenate([one, two]), np.repeat([0, 1], size)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    scored = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    test = mannwhitneyu(scored[y == 1], scored[y == 0], alternative="greater")
    auc = float(test.statistic) / size**2
    effect, p = max(0.0, 2 * auc - 1), float(test.pvalue)
    return Finding("all columns together", "classifier", effect, 2 * least, p, note=f"AUC {auc:.3f}")
