"""How far annotators agree: Krippendorff's alpha, Fleiss' kappa, and Cohen's kappa of each pair."""

from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from lantu.errors import UserError


def krippendorff_alpha(ratings: pd.DataFrame, *, level: Literal["nominal", "interval"] = "nominal") -> float:
    """Krippendorff's alpha (2011): 1 is perfect agreement, 0 is what chance gives; values may be missing.

    Args:
        ratings: (units, annotators).
        level: nominal, or interval for numbers whose differences count.

    Returns:
        NaN where all ratings are the same, so that chance cannot be told from agreement.
    """
    given = ratings.reset_index(drop=True).stack().dropna()
    values, codes = np.unique(given.astype(str if level == "nominal" else float).to_numpy(), return_inverse=True)
    units = given.index.get_level_values(0).to_numpy()
    counts = np.zeros((len(ratings), len(values)))
    np.add.at(counts, (units, codes), 1)
    counts = counts[counts.sum(axis=1) > 1]  # a unit with one rating is compared with nothing
    if not len(counts):
        raise UserError("agreement needs units that at least two annotators have rated, and there are none.")
    size = counts.sum(axis=1)
    # how often two ratings of one unit are a and b
    pairs = (counts.T / (size - 1)) @ counts - np.diag((counts.T / (size - 1)).sum(axis=1))
    total = pairs.sum(axis=1)
    if level == "nominal":
        distance = 1.0 - np.eye(len(values))
    else:
        numbers = values.astype(float)
        distance = (numbers[:, None] - numbers) ** 2
    expected = (np.outer(total, total) - np.diag(total)) / (total.sum() - 1)
    by_chance = float((expected * distance).sum())
    return 1 - float((pairs * distance).sum()) / by_chance if by_chance else float("nan")


def fleiss_kappa(ratings: pd.DataFrame) -> float:
    """Fleiss' kappa (1971) of the units that all annotators have rated."""
    from statsmodels.stats.inter_rater import aggregate_raters
    from statsmodels.stats.inter_rater import fleiss_kappa as of_table

    whole = ratings.dropna().astype(str)
    if not len(whole):
        raise UserError("Fleiss' kappa needs units that all annotators have rated, and there are none.")
    return float(of_table(aggregate_raters(whole.to_numpy())[0]))


def agreement(ratings: pd.DataFrame) -> pd.DataFrame:
    """Alpha and kappa of all annotators, and Cohen's kappa of each pair: columns `who`, `measure`, `value`, `units`.

    Raises:
        UserError: there are fewer than two annotators, or no unit that two of them rated.
    """
    from sklearn.metrics import cohen_kappa_score

    if ratings.shape[1] < 2:
        raise UserError("`annotators=[...]` names at least two columns, each with one annotator's labels.")
    rows = [("all", "Krippendorff's alpha", krippendorff_alpha(ratings), int((ratings.count(axis=1) > 1).sum()))]
    if len(whole := ratings.dropna()):
        rows.append(("all", "Fleiss' kappa", fleiss_kappa(ratings), len(whole)))
    for one, two in combinations(ratings, 2):
        both = ratings[[one, two]].dropna().astype(str)
        if len(both):
            rows.append((f"{one}, {two}", "Cohen's kappa", float(cohen_kappa_score(both[one], both[two])), len(both)))
    return pd.DataFrame(rows, columns=["who", "measure", "value", "units"])
