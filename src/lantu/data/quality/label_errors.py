"""Labels that may be wrong, by confident learning (Northcutt et al. 2021) over out-of-fold predictions.

The result is a queue for a person to look at, never a list of rows to delete: about half of what it names is right as
it is where 10% of the labels are wrong, and deleting rows has cost accuracy in published comparisons.
"""

from typing import Any

import numpy as np
import pandas as pd

from lantu.errors import UserError

FOLDS = 5
MOST = 20_000
"""Rows that are looked at; of more, a random part."""


def label_errors(x: Any, y: np.ndarray, model: Any, *, seed: int = 0) -> pd.DataFrame:
    """Suspicious labels, the most suspicious first.

    Args:
        x: features (N, F), dense or sparse.
        y: class numbers (N,).
        model: an unfitted classifier of scikit-learn that gives probabilities.

    Returns:
        `row`, `given` and `suggested` class numbers, `quality` (from 0: surely wrong, to 1).

    Raises:
        UserError: a class has too few rows to be predicted out of fold.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    classes, y = np.unique(y, return_inverse=True)
    fewest = int(np.bincount(y).min())
    if len(classes) < 2 or fewest < FOLDS:
        raise UserError(
            f"`labels=true` predicts each row by a model that has not seen it, in {FOLDS} folds, and one class has "
            f"only {fewest} rows."
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probabilities = cross_val_predict(model, x, y, cv=folds, method="predict_proba")
    rows = find_label_issues(y, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1)
    quality = get_label_quality_scores(y, probabilities, method="normalized_margin")
    suggested = probabilities[rows].argmax(axis=1)
    return pd.DataFrame(
        {"row": rows, "given": classes[y[rows]], "suggested": classes[suggested], "quality": quality[rows]}
    )  # fmt: skip
