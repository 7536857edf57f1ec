"""The comparison as a table: in the terminal, and as a file by its ending."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.compare.methods.groups import Groups, as_text
from lantu.compare.methods.statistics import Comparison
from lantu.compare.methods.stored_predictions import StoredExamples
from lantu.compare.reading.run_frames import Runs
from lantu.errors import UserError
from lantu.escaping import csv_safe, for_latex, for_markdown
from lantu.whole_files import whole_file

TIED = "tied with best"
"""The column that says whether a configuration is statistically tied with the best."""
MISSING = "\N{EN DASH}"

SHOWN_METRICS = (
    "cost/usd",
    "cost/kwh",
    "cost/co2e_kg",
    "cost/device_hours",
    "model/parameters",
    "speed/latency_ms",
    "speed/samples_per_second",
)


def summary(
    runs: Runs,
    groups: Groups,
    comparison: Comparison,
    *,
    metric: str,
    test: str | None,
    means: pd.DataFrame | None = None,
    examples: StoredExamples | None = None,
) -> pd.DataFrame:
    """One row per group, best first, numbers unrounded.

    The settings that vary under their short names, then `seeds`, the metric's mean with its interval, the
    difference to the winner, the test score, and what the runs cost on average.
    """
    order = comparison.table.index
    settings = groups.settings.reindex(order).rename(columns=groups.short)
    parts = comparison.table
    table = settings.copy()
    table["seeds"] = parts["seeds"].astype(int)
    if parts["failed"].any():
        table["failed"] = [
            f"{failed} of {failed + seeds}" if failed else ""
            for failed, seeds in zip(parts["failed"], parts["seeds"], strict=True)
        ]
    table[metric] = parts["mean"]
    table[f"{metric} low"], table[f"{metric} high"] = parts["low"], parts["high"]
    if examples is not None:
        over = [examples.interval(str(label), comparison.level) for label in order]
        table["over examples low"], table["over examples high"] = zip(*over, strict=True)
    table["difference"] = parts["difference"]
    table["difference low"], table["difference high"] = parts["diff_low"], parts["diff_high"]
    table["p"] = parts["p_corrected"]
    table[TIED] = comparison.tied.astype(object) if comparison.tested else None
    table.loc[comparison.untested, TIED] = None
    means = group_means(runs, groups).reindex(order) if means is None else means
    if test and test in means:
        table[test] = means[test]
    for name in SHOWN_METRICS:
        if name in means and means[name].notna().any():
            table[name] = means[name]
    table["minutes"] = means["minutes"]
    table.index.name = "group"
    table.attrs["settings"] = list(settings.columns)
    return table


def group_means(runs: Runs, groups: Groups) -> pd.DataFrame:
    """The mean of every metric by group, and `minutes` of wall time, over runs with a score: those that ended well.

    One that crashed early has cost little, and says nothing of what the configuration costs.
    """
    minutes = (runs.info["end"].astype(float) - runs.info["start"].astype(float)) / 60_000
    counted = runs.score.notna()
    return runs.metrics.assign(minutes=minutes)[counted].groupby(groups.of_run[counted]).mean()


def arrange(table: pd.DataFrame, *, sort: str | None, columns: Iterable[str] | None, top: int | None) -> pd.DataFrame:
    """The table as the user wants to see it.

    Args:
        table: from `summary`.
        sort: a column, `-column` for the largest first; None: best first.
        columns: which columns, in this order; None: all.
        top: how many rows; None: all.
    """
    if sort:
        name = _column(table, sort.removeprefix("-"), "sort")
        table = table.sort_values(name, ascending=not sort.startswith("-"), kind="stable")
    if columns:
        chosen = [_column(table, each, "columns") for each in columns]
        bounds = [f"{each} {end}" for each in chosen for end in ("low", "high")]
        table = table[[*chosen, *(each for each in bounds if each in table and each not in chosen)]]
    return table.head(top) if top else table


def _column(table: pd.DataFrame, name: str, option: str) -> str:
    if name in table.columns:
        return name
    from lantu.suggestions import did_you_mean

    names = [str(each) for each in table.columns]
    raise UserError(
        f"`{option}={name}`: there is no column `{name}`.{did_you_mean(name, names)} There are: {', '.join(names)}."
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table; the ending, one of `lantu.compare.arguments.TABLES`, says how.

    CSV, Parquet and JSON keep every digit; Markdown and LaTeX are rounded for reading.
    """
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda place: csv_safe(table).to_csv(place),
        ".parquet": lambda place: table.reset_index().to_parquet(place),
        ".json": lambda place: table.reset_index().to_json(place, orient="records", indent=1),
        ".md": lambda place: place.write_text(markdown(table), encoding="utf-8"),
        ".tex": lambda place: place.write_text(latex(table), encoding="utf-8"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as place:
        writers[path.suffix](place)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table for reading: text, means with their intervals in one column, the difference with its own."""
    shown: dict[str, list[str]] = {}
    for name in table.columns:
        if str(name) == "over examples high":
            ends = zip(table["over examples low"], table[name], strict=True)
            digits = _digits(table[name])
            shown["over examples"] = [
                f"{number(low, digits)} to {number(high, digits)}" if np.isfinite(low) else MISSING
                for low, high in ends
            ]
        if str(name).endswith((" low", " high")):
            continue
        low, high = table.get(f"{name} low"), table.get(f"{name} high")
        digits = None if name in table.attrs.get("settings", ()) else _digits(table[name])
        cells = []
        for place, value in enumerate(table[name]):
            measured = isinstance(value, float) and name not in table.attrs.get("settings", ())
            text = number(value, digits) if measured else _plain(value)
            if name == "p" and measured and value < 0.001:
                text = "<0.001"
            if name == "model/parameters" and value >= 1e4:
                text = compact(value)
            if low is not None and high is not None and np.isfinite(low.iloc[place]):
                text += spread(float(value), float(low.iloc[place]), float(high.iloc[place]), digits)
            cells.append(text)
        shown[str(name)] = cells
    return pd.DataFrame(shown, index=table.index)


def spread(value: float, low: float, high: float, digits: int | None = None) -> str:
    """An interval behind its value: " ± half" where it is symmetric, else " (low to high)"."""
    half = (high - low) / 2
    if abs((high + low) / 2 - value) <= 0.05 * half:
        return f" ± {number(half, digits)}"
    return f" ({number(low, digits)} to {number(high, digits)})"


def number(value: float, digits: int | None = None) -> str:
    """A number for a person: `digits` after the point, or three significant ones."""
    if not np.isfinite(value):
        return MISSING
    if digits is not None:
        return f"{value:z,.{digits}f}"  # no minus before a zero
    size = abs(value)
    if size >= 1e15 or (0 < size < 1e-4):
        return f"{value:.2e}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def compact(count: float) -> str:
    """A count for a person: 950, 32k, 2.62M, 7.1G."""
    if count < 1e4:
        return f"{count:,.0f}"
    size, unit = next((each for each in ((1e9, "G"), (1e6, "M")) if count >= each[0]), (1e3, "k"))
    return f"{count / size:.3g}{unit}"


def _digits(column: pd.Series) -> int | None:
    """Decimals that suit a whole column; None where its sizes differ too much for one number of decimals."""
    if column.dtype.kind != "f":
        return None
    sizes = column[np.isfinite(column) & (column != 0)].abs()
    if sizes.empty or sizes.max() / sizes.median() > 1000 or sizes.max() >= 1000 or sizes.max() < 1e-3:
        return None
    return int(np.clip(3 - np.floor(np.log10(sizes.max())), 0, 6))


def _plain(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return as_text(value)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table."""
    shown = rounded(table)
    head, *rows = [[for_markdown(str(cell)) for cell in line] for line in [shown.columns, *shown.to_numpy().tolist()]]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *rows])


def latex(table: pd.DataFrame) -> str:
    """A LaTeX tabular with booktabs rules."""
    shown = rounded(table).replace(MISSING, "--")
    lines = [shown.columns, *shown.to_numpy().tolist()]
    head, *rows = [" & ".join(for_latex(str(cell)) for cell in line) + r" \\" for line in lines]
    start = rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}"
    return "\n".join([start, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", ""])


def show(table: pd.DataFrame, *, caption: str) -> None:
    """Print the table in the terminal; those that are tied with the best are bold."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    shown = _fitting(rounded(table), table, console.width)
    printed = Table(box=None, padding=(0, 1), header_style="cyan")
    for name in shown.columns:
        numeric = name in table and table[name].dtype.kind in "fi"
        printed.add_column(escape(str(name)), justify="right" if numeric else "left", no_wrap=True)
    best = table.get(TIED)
    for place, row in enumerate(shown.to_numpy().tolist()):
        printed.add_row(*map(escape, row), style="bold" if best is not None and best.iloc[place] is True else "")
    console.print(printed)
    console.print(escape(caption), style="dim", highlight=False)


def _fitting(shown: pd.DataFrame, table: pd.DataFrame, width: int) -> pd.DataFrame:
    """As many columns as the terminal has room for, the least telling ones left out first."""
    settings = [str(each) for each in table.attrs.get("settings", ())]
    last = ["p", TIED, "cost/device_hours", "cost/co2e_kg", "speed/samples_per_second", "minutes"]
    names = list(shown.columns)
    keep = sorted(names, key=lambda name: (name not in settings, name in last, names.index(name)))
    room = width
    chosen: list[str] = []
    for name in keep:
        room -= 2 + max(len(name), *(len(cell) for cell in shown[name]), 0)
        if room < 0 and chosen:
            break
        chosen.append(name)
    return shown[[name for name in names if name in chosen]]
