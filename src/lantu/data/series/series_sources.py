"""Where series come from, beside tables of the user's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lantu.data.sources import Raw, table_file
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

STATSMODELS = ("co2", "nile", "sunspots")


def statsmodels(name: str) -> Raw:
    """A series that statsmodels ships: co2 (weekly at Mauna Loa, 1958 to 2001), nile or sunspots (yearly)."""
    from importlib import import_module
    from importlib.metadata import version

    if name not in STATSMODELS:
        raise UserError(f"`data.source.name={name}`: of statsmodels there are {', '.join(STATSMODELS)}.")
    rows = import_module(f"statsmodels.datasets.{name}").load_pandas().data
    if name == "co2":
        rows = rows.rename_axis("date").reset_index()
    source = {"uri": f"statsmodels {version('statsmodels')}: {name}"}
    return Raw(
        name=f"{name} (statsmodels)", rows=rows, split=np.repeat("train", len(rows)), source=source, key=source["uri"]
    )


def mirror_table(file: str, *, mirror: str | None, elsewhere: str) -> Raw:
    """A table of a mirror folder, for data that no hub has.

    Args:
        file: where it lies in the folder.
        mirror: the folder.
        elsewhere: a sentence that says what the table is, and where one like it comes from.

    Raises:
        UserError: there is no mirror folder, or the file is not in it.
    """
    path = Path(mirror or "").expanduser() / file
    if mirror is None or not path.is_file():
        raise UserError(
            f"The data `{file}` are on no hub. {elsewhere} Then type `paths.mirror=DIR`, or set LANTU_MIRROR: the "
            f"folder that holds `{file}`. For a table of your own: `data.path=FILE`."
        )
    return table_file(str(path), as_text=True)


def day_range(source: Callable[[], Raw], *, high: str = "high", low: str = "low", name: str = "log_range") -> Raw:
    """Prices with one more column: the logarithm of the volatility that a day's range tells, in percent.

    The volatility is Parkinson's (1980), log(high / low) / sqrt(4 log 2); at least 0.01 percent.

    Args:
        source: gives the prices.
        high, low: the columns of a day's highest and lowest price.
        name: of the new column.
    """
    raw = source()
    for column in (high, low):
        if column not in raw.rows:
            known = [str(each) for each in raw.rows.columns]
            raise UserError(f"`data.source`: there is no column `{column}`.{did_you_mean(column, known)}")
    ratio = raw.rows[high].astype(float) / raw.rows[low].astype(float)
    volatility = 100 * np.log(ratio) / np.sqrt(4 * np.log(2))
    return replace(raw, rows=raw.rows.assign(**{name: np.log(volatility.clip(lower=0.01))}), key=f"{raw.key}-{name}")


def equal_weight(source: Callable[[], Raw], columns: list[str], *, name: str = "portfolio") -> Raw:
    """Prices with one more: that of a portfolio which holds the same amount of money in each of some, every day anew.

    Its return on a day is the mean of their simple returns. It is missing on days on which one of them is.

    Args:
        source: gives the prices.
        columns: those that the portfolio holds.
        name: of the new column.
    """
    raw = source()
    for column in columns:
        if column not in raw.rows:
            known = [str(each) for each in raw.rows.columns]
            raise UserError(f"`data.source.columns`: there is no column `{column}`.{did_you_mean(column, known)}")
    if not columns or name in raw.rows:
        raise UserError(f"`data.source`: name the columns to hold, and a new column; `{name}` is there already.")
    returns = raw.rows[columns].astype(float).pct_change(fill_method=None).mean(axis=1, skipna=False)
    price = 100 * (1 + returns.fillna(0)).cumprod()
    missing = returns.isna()
    missing.iloc[0] = bool(raw.rows[columns].iloc[0].isna().any())
    return replace(raw, rows=raw.rows.assign(**{name: price.mask(missing)}), key=f"{raw.key}-{name}-{columns}")
