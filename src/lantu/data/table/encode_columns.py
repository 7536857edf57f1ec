"""Encode the columns of a table as features on one scale, as training learned them."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from lantu.data.table.column import CYCLES, QUANTILE_LEVELS, Column
from lantu.data.table.column_values import Say, as_category, category_codes, missing_categories, normalize, read_numbers
from lantu.data.table.kinds import is_nested
from lantu.data.table.target_features import TargetFeatures
from lantu.data.table.text_features import TextFeatures
from lantu.data.table.woe import Bins, Options, of_levels, of_numbers
from lantu.errors import UserError

PIECES_BEYOND = 3.0
"""Widths of the first or last piece that a value beyond it counts as at most."""
MOST_DEVIATIONS = 1e6
"""Standard deviations from the mean that a value counts as at most, so that 1e300 in a later file is no infinity."""


def encode(
    rows: pd.DataFrame, columns: list[Column], say: Say | None = None, *, training: np.ndarray | None = None
) -> np.ndarray:
    """Return the features of all columns, float32 (N, features).

    Args:
        training: targets (N, T) where these are the training rows, so that none is told its own target.
        say: is told what could not be read.

    Raises:
        UserError: a column that the training rows had is missing, or holds several values in a cell.
    """
    by_normalized = {normalize(str(name)): name for name in rows}
    names = {each.name: each.name if each.name in rows else by_normalized.get(normalize(each.name)) for each in columns}
    lacking = [name for name, found in names.items() if found is None]
    if lacking:
        raise UserError(f"The table lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.")
    for name, found in names.items():
        if is_nested(rows[found]):
            shown = next(each for each in rows[found] if is_nested(pd.Series([each], dtype=object)))
            raise UserError(
                f"`{name}` holds a list, a mapping or bytes in a cell, such as {str(shown)[:60]}. Training had one "
                "value in each cell: make a column of it that has."
            )
    return np.hstack([encode_column(column, rows[names[column.name]], say, training=training) for column in columns])


def encode_column(
    column: Column, values: pd.Series, say: Say | None = None, *, training: np.ndarray | None = None
) -> np.ndarray:
    """Return the features of one column, float32 (N, features).

    Args:
        training: targets (N, T) where these are the training values, so that none is told its own target.
        say: is told, in a sentence, how many values could not be read or were not seen in training.
    """
    if column.woe:
        return _weights_of_evidence(column, values, say)[:, None].astype(np.float32)
    if column.has_categories:
        features = _category_features(column, values, say)
        missing = missing_categories(values)
        if column.target:
            features.append(_target_features(column, values, training))
    else:
        found = read_numbers(column, values, say)
        missing = ~np.isfinite(found)
        filled = np.where(missing, column.median, found)
        features = [*_scaled(column, filled, say), *_phases(column, filled)]
    if column.marks_missing:
        features.append(missing[:, None])
    elif say is not None and (count := int(values.isna().sum())):
        instead = "no category" if column.has_categories else "the median of training"
        say(
            f"`{column.name}`: {count:,} of {len(values):,} values are missing, as none was in training; {instead} "
            "stands for them"
        )
    return np.hstack(features).astype(np.float32)


def bin_column(column: Column, values: pd.Series, positive: np.ndarray, options: Options) -> Column:
    """Return the column encoded as weight of evidence, learned on training values.

    Args:
        positive: whether each row (N,) is of the positive class.
    """
    if column.kind == "category":
        codes, missing = category_codes(column, values), missing_categories(values)
        bins = of_levels(codes, missing, len(column.categories) + column.others, positive, options)
    else:
        bins = of_numbers(read_numbers(column, values), positive, options)
    return replace(column, woe=asdict(bins))


def _weights_of_evidence(column: Column, values: pd.Series, say: Say | None) -> np.ndarray:
    bins = Bins(**column.woe)
    if column.kind == "category":
        codes = category_codes(column, values, say)
        return bins.encode(bins.places_of_levels(codes, missing_categories(values)))
    found = read_numbers(column, values, say)
    return bins.encode(bins.places_of_numbers(np.where(np.isfinite(found), found, np.nan)))


def _category_features(column: Column, values: pd.Series, say: Say | None) -> list[np.ndarray]:
    codes = category_codes(column, values, say)
    one_hot = codes[:, None] == np.arange(len(column.categories) + column.others)
    return [one_hot, TextFeatures(column.text).encode(as_category(values))] if column.text else [one_hot]


def _scaled(column: Column, found: np.ndarray, say: Say | None) -> list[np.ndarray]:
    """Numbers (N,) on one scale, each feature (N, 1): standardised, the normal scores of their ranks, or both."""
    features = []
    if column.scales or not column.quantiles:
        scaled = (found - column.mean) / column.std
        far = np.abs(scaled) > MOST_DEVIATIONS
        if far.any() and say is not None:
            say(
                f"`{column.name}`: {int(far.sum()):,} of {len(found):,} values, such as {found[far][0]:g}, are more "
                f"than {MOST_DEVIATIONS:,.0f} standard deviations from the training mean, and count as that far"
            )
        features.append(np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS)[:, None])
    if column.quantiles:
        from scipy.special import ndtri

        features.append(np.interp(found, column.quantiles, column.scores or ndtri(QUANTILE_LEVELS))[:, None])
    if column.edges:
        features.append(_pieces(column, found))
    return features


def _pieces(column: Column, found: np.ndarray) -> np.ndarray:
    """How far numbers (N,) are through each piece (N, pieces), from 0 to 1; below and above the ends go on to -3 and 3.

    Piecewise linear encoding (Gorishniy et al. 2022, arXiv 2203.05556).
    """
    edges = np.array(column.edges)
    through = (found[:, None] - edges[:-1]) / np.diff(edges)
    low, high = np.zeros(len(edges) - 1), np.ones(len(edges) - 1)
    low[0], high[-1] = -PIECES_BEYOND, PIECES_BEYOND
    return through.clip(low, high)


def _target_features(column: Column, values: pd.Series, training: np.ndarray | None) -> np.ndarray:
    features, texts = TargetFeatures(column.target), as_category(values)
    return features.encode(texts) if training is None else features.encode_training(texts, training)


def _phases(column: Column, moments: np.ndarray) -> list[np.ndarray]:
    """The sine and cosine (N, 2) of moments, in seconds (N,), in each cycle of the column."""
    angles = [2 * np.pi * (moments % CYCLES[name]) / CYCLES[name] for name in column.cycles]
    return [np.stack([np.sin(angle), np.cos(angle)], axis=1) for angle in angles]
