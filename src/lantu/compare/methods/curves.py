"""Learning curves by step, time, samples, money and energy, with a band over seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lantu.compare.methods.groups import Groups
from lantu.compare.reading.run_frames import Reader, Runs

AXES = {
    "step": "training steps",
    "minutes": "minutes of wall time",
    "samples": "training samples seen",
    "usd": "US dollars",
    "kwh": "kilowatt hours",
}
METERED = {"usd": "cost/usd", "kwh": "cost/kwh"}
HARDWARE = {
    "system/cpu_percent": "busy processors, % of all",
    "system/memory_gib": "memory, GiB",
    "system/gpu_percent": "busy GPU, %",
    "system/gpu_memory_gib": "GPU memory, GiB",
}
POINTS = 60
"""Points of a drawn curve."""


@dataclass(frozen=True)
class Curve:
    """The curves of one group's seeds along one axis."""

    x: np.ndarray
    """(points,)"""
    mean: np.ndarray
    """(points,) over the seeds that are still running there."""
    low: np.ndarray
    """(points,) the lowest seed."""
    high: np.ndarray
    """(points,) the highest seed."""
    seeds: int


def curves(
    reader: Reader, runs: Runs, groups: Groups, *, metric: str, shown: list[str], most_seeds: int = 10
) -> dict[str, dict[str, Curve]]:
    """Curves by axis and group, for the groups that are shown: nothing else leaves the store.

    Money and energy go by what the cost meter logged along the way; where it logged only a total, by time.
    """
    wanted = groups.of_run[groups.of_run.isin(shown) & runs.score.notna()]
    wanted = wanted.groupby(wanted).head(most_seeds)
    frame = reader.history(list(wanted.index), [metric, *METERED.values()], points=300)
    if frame.empty:
        return {}
    # a run's last point repeats the best epoch's value, so that MLflow sorts by it
    frame = frame.drop_duplicates(["run", "key", "step"])
    starts = runs.info["start"].astype(float)
    batch = samples_per_step(runs)
    single: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {axis: {} for axis in AXES}
    parts = dict(iter(frame.groupby(["run", "key"], sort=False)))
    for run, label in wanted.items():
        part = parts.get((run, metric))
        if part is None or len(part) < 2:
            continue
        step, value = part["step"].to_numpy(dtype=float), part["value"].to_numpy(dtype=float)
        elapsed = (part["timestamp"].to_numpy(dtype=float) - starts[run]) / 60_000
        xs = {"step": step, "minutes": elapsed, "samples": (step + 1) * batch[run]}
        for axis, key in METERED.items():
            xs[axis] = _spent(parts.get((run, key)), runs.metrics.get(key), str(run), step, elapsed)
        for axis, x in xs.items():
            if np.isfinite(x).all() and x[-1] > x[0]:
                single[axis].setdefault(str(label), []).append((x, value))
    return {
        axis: {label: _together(single[axis][label]) for label in shown if label in single[axis]}
        for axis in AXES
        if single[axis]
    }


def hardware_use(
    reader: Reader, runs: Runs, groups: Groups, *, shown: list[str]
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """What the first run of each group used of its machine: minutes and values, by metric and group.

    Runs that ended before a second look at the machine have no curve.
    """
    wanted = groups.of_run[groups.of_run.isin(shown) & runs.score.notna()]
    first = {str(run): str(label) for run, label in wanted.groupby(wanted).head(1).items()}
    frame = reader.history(list(first), list(HARDWARE), points=POINTS)
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (run, key), part in frame.sort_values("timestamp").groupby(["run", "key"], sort=False):
        if len(part) > 1:
            minutes = (part["timestamp"].to_numpy(dtype=float) - float(runs.info.loc[run, "start"])) / 60_000
            found.setdefault(str(key), {})[first[str(run)]] = (minutes, part["value"].to_numpy(dtype=float))
    ordered = {name: found[name] for name in HARDWARE if name in found}
    return {
        name: {label: by_group[label] for label in shown if label in by_group} for name, by_group in ordered.items()
    }


def samples_per_step(runs: Runs) -> pd.Series:
    """Samples in one optimizer step, by run: batch size times accumulation times devices; missing if not known."""
    sizes = pd.Series(1.0, index=runs.info.index)
    for name in ("data.batch_size", "trainer.accumulate_grad_batches", "trainer.devices", "trainer.num_nodes"):
        if name in runs.params:
            column = pd.to_numeric(runs.params[name], errors="coerce")
        else:
            column = pd.to_numeric(pd.Series(runs.constants.get(name), index=sizes.index), errors="coerce")
        sizes *= column if name == "data.batch_size" else column.fillna(1.0).clip(lower=1.0)
    return sizes


def _spent(
    part: pd.DataFrame | None, totals: pd.Series | None, run: str, step: np.ndarray, elapsed: np.ndarray
) -> np.ndarray:
    """What had been spent at each step."""
    if part is not None and len(part) >= 2:
        return np.interp(step, part["step"].to_numpy(dtype=float), part["value"].to_numpy(dtype=float))
    total = float(totals[run]) if totals is not None else np.nan
    return elapsed / elapsed[-1] * total if elapsed[-1] > 0 else np.full(len(step), np.nan)


def _together(single: list[tuple[np.ndarray, np.ndarray]]) -> Curve:
    """Seeds on one grid; past a seed's own end it is left out."""
    if len(single) == 1 and len(single[0][0]) <= 2 * POINTS:
        x, value = single[0]
        return Curve(x, value, value, value, 1)
    first = single[0][0]
    if len(first) <= 2 * POINTS and all(len(x) == len(first) and np.allclose(x, first) for x, _ in single):
        every = np.array([value for _, value in single])
        return Curve(first, every.mean(axis=0), every.min(axis=0), every.max(axis=0), len(single))
    grid = np.linspace(max(x[0] for x, _ in single), max(x[-1] for x, _ in single), POINTS)
    values = np.full((len(single), POINTS), np.nan)
    for place, (x, value) in enumerate(single):
        inside = grid <= x[-1] * (1 + 1e-9)
        values[place, inside] = np.interp(grid[inside], x, value)
    some = np.isfinite(values).any(axis=0)
    grid, values = grid[some], values[:, some]
    return Curve(grid, np.nanmean(values, axis=0), np.nanmin(values, axis=0), np.nanmax(values, axis=0), len(single))
