"""What mattered: how much of the differences between runs each hyperparameter explains, and how sure that is.

Three views, because none is right alone. PED-ANOVA (Watanabe et al. 2023) asks what sets the best tenth apart;
fANOVA (Hutter et al. 2014) how much of the variance over the whole space a parameter explains by itself; both come
from Optuna. Permutation (Breiman 2001, scikit-learn) asks how much worse a forest predicts configurations that it has
not seen when one parameter's values are shuffled. Intervals: a bootstrap over configurations for PED-ANOVA,
the spread over folds for permutation. Two parameters interact as far as the forest's answer to both together is not
the sum of its answers to each (Friedman and Popescu 2008).
"""

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lantu.compare.methods.groups import Groups

FEWEST = 8
"""Configurations below which importances are not estimated."""
MOST = 300
"""Configurations that the slow methods look at; more are sampled."""


@dataclass(frozen=True)
class Importance:
    """What mattered, or why that cannot be said."""

    table: pd.DataFrame
    """By parameter, most important first: permutation, permutation_low, permutation_high, ped_anova, ped_anova_low,
    ped_anova_high, fanova; each method's column sums to one."""
    interactions: pd.DataFrame
    """first, second, share: of the forest's variance that is neither one's own; largest first."""
    explained: float
    """R squared of the forest on configurations that it has not seen."""
    refused: str | None = None
    """Why importances are not estimated; empty: they are."""


def importance(score: pd.Series, groups: Groups, *, mode: str, seed: int = 0, bootstrap: int = 10) -> Importance:
    """Measure what mattered.

    Args:
        score: by group, such as its mean over seeds.
        groups: the settings that vary.
        mode: "min" or "max".
        seed: of the forests and resamples.
        bootstrap: resamples for the intervals of PED-ANOVA.
    """
    settings = groups.settings.reindex(score.index)[score.notna()]
    values = score[score.notna()].to_numpy(dtype=float)
    names = [str(name) for name in settings if settings[name].nunique(dropna=False) > 1]
    if len(values) < FEWEST or not names:
        return _refuse(f"{len(values)} configurations are too few to say what mattered; it takes {FEWEST}.")
    if len(names) == 1:
        return _refuse(f"only one thing varies ({names[0]}): all the difference is its doing.")
    if np.ptp(values) == 0:
        return _refuse("all configurations score the same.")
    random = np.random.default_rng(seed)
    if len(values) > MOST:
        rows = random.choice(len(values), MOST, replace=False)
        settings, values = settings.iloc[rows], values[rows]
    loss = _tamed(values if mode == "min" else -values)
    encoded = pd.DataFrame({name: _encoded(settings[name]) for name in names}, index=settings.index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table, explained = _permutation(encoded, loss, seed)
        if explained < 0.1:
            return _refuse(
                "the settings do not predict the score of configurations that were left out "
                f"(R squared {max(explained, 0):.2f}); noise or too few configurations hide what mattered."
            )
        table = table.join(_ped_anova(settings[names], loss, random, bootstrap))
        table = table.join(_fanova(settings[names], loss, seed))
        interactions = _interactions(encoded, loss, list(table.index[:4]), random, seed)
    return Importance(table, interactions, explained)


def _refuse(reason: str) -> Importance:
    return Importance(pd.DataFrame(), pd.DataFrame(), float("nan"), reason)


def _tamed(loss: np.ndarray) -> np.ndarray:
    """Diverged runs count as bad, not as a thousand times worse than everything else."""
    middle = float(np.median(loss))
    spread = float(np.quantile(loss, 0.75) - np.quantile(loss, 0.25)) or float(np.std(loss))
    return np.asarray(np.clip(loss, None, middle + 3 * spread))


def _is_log(column: pd.Series) -> bool:
    known = column.dropna()
    return bool(len(known) and known.min() > 0 and known.max() / known.min() >= 10)


def levels(column: pd.Series) -> pd.Series:
    """The values of a setting as text; that a run does not have it (another model's option) is a level of its own."""
    return column.map(lambda value: "(not set)" if pd.isna(value) else str(value)).astype(object)


def _encoded(column: pd.Series) -> np.ndarray:
    """Numbers for a forest: logarithms of what spans magnitudes, codes of categories, -1 where missing."""
    if column.dtype.kind in "fiu":
        numbers = np.log10(column) if _is_log(column) else column
        return numbers.fillna(numbers.min() - 1).to_numpy(dtype=float)
    return pd.factorize(levels(column))[0].astype(float)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(30, min_samples_leaf=1, random_state=seed)


def _permutation(encoded: pd.DataFrame, loss: np.ndarray, seed: int) -> tuple[pd.DataFrame, float]:
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    drops, truth, predicted = [], [], []
    cells = encoded.to_numpy()
    folds = KFold(min(5, len(loss) // 2), shuffle=True, random_state=seed)
    for train, test in folds.split(cells):
        forest = _forest(seed).fit(cells[train], loss[train])
        found = permutation_importance(
            forest, cells[test], loss[test], scoring="neg_mean_squared_error", n_repeats=2, random_state=seed
        )
        drops.append(found.importances.mean(axis=1))
        truth.append(loss[test])
        predicted.append(forest.predict(cells[test]))
    real, predictions = np.concatenate(truth), np.concatenate(predicted)
    explained = 1 - float(((real - predictions) ** 2).sum() / ((real - real.mean()) ** 2).sum())
    shares = np.clip(np.array(drops), 0, None)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    mean = shares.mean(axis=0)
    half = 2.0 * shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
    table = pd.DataFrame(
        {
            "permutation": mean,
            "permutation_low": np.clip(mean - half, 0, 1),
            "permutation_high": np.clip(mean + half, 0, 1),
        },
        index=encoded.columns,
    )
    return table.sort_values("permutation", ascending=False), explained


def _study(settings: pd.DataFrame, loss: np.ndarray) -> Any:
    """The runs as a finished study of Optuna."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name in settings:
        column = settings[name]
        if column.dtype.kind in "fiu" and column.notna().all():
            spaces[name] = FloatDistribution(float(column.min()), float(column.max()), log=_is_log(column))
            columns[name] = column.astype(float).tolist()
        else:
            texts = levels(column).tolist()
            spaces[name] = CategoricalDistribution(sorted(set(texts)))
            columns[name] = texts
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(
                params={name: columns[name][row] for name in columns}, distributions=spaces, value=float(value)
            )
            for row, value in enumerate(loss)
        ]
    )
    return study


def _ped_anova(settings: pd.DataFrame, loss: np.ndarray, random: np.random.Generator, bootstrap: int) -> pd.DataFrame:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    def shares(rows: np.ndarray) -> dict[str, float]:
        study = _study(settings.iloc[rows], loss[rows])
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), normalize=True)
        return {name: float(value) for name, value in found.items()}

    everything = pd.Series(shares(np.arange(len(loss))))
    # resamples of that many are enough for an interval, and each costs as much as the fit itself
    size = min(len(loss), 120)
    draws = []
    for _ in range(bootstrap):
        rows = random.integers(0, len(loss), size)
        if all(settings[name].iloc[rows].nunique(dropna=False) > 1 for name in settings):
            draws.append(shares(rows))
    spread = pd.DataFrame(draws).quantile([0.025, 0.975]).T if draws else pd.DataFrame(columns=[0.025, 0.975])
    return pd.DataFrame({"ped_anova": everything, "ped_anova_low": spread[0.025], "ped_anova_high": spread[0.975]})


def _fanova(settings: pd.DataFrame, loss: np.ndarray, seed: int) -> pd.Series:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    size = min(len(loss), 150)
    rows = np.random.default_rng(seed).choice(len(loss), size, replace=False)
    study = _study(settings.iloc[rows], loss[rows])
    evaluator = FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=seed)
    return pd.Series(get_param_importances(study, evaluator=evaluator), dtype=float, name="fanova")


def _interactions(
    encoded: pd.DataFrame, loss: np.ndarray, names: list[str], random: np.random.Generator, seed: int
) -> pd.DataFrame:
    """Pairs among the most important parameters, by partial dependence on the values that occur."""
    cells = encoded.to_numpy()
    forest = _forest(seed).fit(cells, loss)
    background = cells[random.choice(len(cells), min(40, len(cells)), replace=False)]
    grids = {name: np.unique(np.quantile(encoded[name], np.linspace(0, 1, 6), method="nearest")) for name in names}
    total, rows = float(forest.predict(cells).var()), []
    for first, second in combinations(names, 2):
        a, b = grids[first], grids[second]
        points = np.tile(background, (len(a) * len(b), 1))
        points[:, encoded.columns.get_loc(first)] = np.repeat(a, len(b) * len(background))
        points[:, encoded.columns.get_loc(second)] = np.tile(np.repeat(b, len(background)), len(a))
        both = forest.predict(points).reshape(len(a), len(b), -1).mean(axis=2)
        rest = both - both.mean(axis=0) - both.mean(axis=1, keepdims=True) + both.mean()
        rows.append((first, second, float((rest**2).mean()) / total if total else 0.0))
    table = pd.DataFrame(rows, columns=["first", "second", "share"])
    return table.sort_values("share", ascending=False, ignore_index=True)
