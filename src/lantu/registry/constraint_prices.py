"""What a constraint costs: the best quality at each value of epsilon, of a gap between groups, of p99 or of CO2e.

The runs are those of the candidate's experiment that were tested on the same examples. A run is on the front if no
other is at least as good in both and better in one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lantu.checkpoints.digest import KEY, digest_of
from lantu.compare.methods.pareto import PRICES, front
from lantu.compare.report import svg
from lantu.metric_direction import direction
from lantu.registry.evidence import Evidence
from lantu.tracking.find import checkpoint_in
from lantu.tracking.further import metrics_of
from lantu.tracking.mlflow_runs import local_folder

MOST_RUNS = 1000
P99, CO2E = "p99 ms", "cost/co2e_kg"
NAMES = {P99: "p99 of the load test, ms", CO2E: "CO2e of the training, kg", "privacy/epsilon": "epsilon"}


@dataclass(frozen=True)
class ConstraintPrice:
    """Quality against one constraint, over several runs."""

    constraint: str
    """A metric, or `P99`."""
    quality: str
    """A metric, such as test/profit."""
    runs: pd.DataFrame
    """constraint, quality, name, candidate and on (the front), by run id; the least constraint first."""
    limit: float | None
    """The gate's, where it has one."""

    @property
    def name(self) -> str:
        """What is constrained, in words."""
        if self.constraint.startswith("fairness/"):
            _, groups, gap = self.constraint.split("/", 2)
            return f"{gap.replace('_', ' ')} between groups of {groups.replace('_', ' ')}"
        return NAMES.get(self.constraint, self.constraint)

    @property
    def claim(self) -> str:
        """What the limit costs, or what the whole front spans, in a sentence."""
        sign = 1.0 if direction(self.quality) == "max" else -1.0
        runs = self.runs.assign(worth=sign * self.runs["quality"])
        best = runs.loc[runs["worth"].idxmax()]
        if self.limit is not None:
            inside = runs[runs["constraint"] <= self.limit]
            if inside.empty:
                return f"none of {len(runs)} runs is within the limit of {self.limit:g}"
            within = inside.loc[inside["worth"].idxmax()]
            lost = best["worth"] - within["worth"]
            return (
                f"within the limit of {self.limit:g} the best {self.quality} is {within['quality']:.4g}; without it "
                f"{best['quality']:.4g} at {best['constraint']:.4g}: the limit costs {lost:.4g}"
            )
        least = runs.iloc[0]
        if least["worth"] == best["worth"]:
            return (
                f"the best {self.quality} of {len(runs)} runs, {best['quality']:.4g}, is reached at the least, "
                f"{least['constraint']:.4g}: more buys nothing"
            )
        return (
            f"from {least['quality']:.4g} at {least['constraint']:.4g} to {best['quality']:.4g} at "
            f"{best['constraint']:.4g}, over {len(runs)} runs"
        )


def prices_of(
    client: Any, run: Any, candidate: Evidence, gates: Mapping[str, Any], *, tracking_uri: str | None = None
) -> list[ConstraintPrice]:
    """The price of each constraint in which the experiment's runs differ; [] where there are fewer than two runs.

    Args:
        client: MLflow's.
        run: the candidate's run of MLflow.
        gates: whose limits are priced.
        tracking_uri: of the store.
    """
    digest = candidate.lineage.get("data, test")
    quality = _quality(candidate, gates)
    if digest is None or quality is None:
        return []
    rows: dict[str, dict[str, Any]] = {}
    found = client.search_runs([run.info.experiment_id], "attributes.status = 'FINISHED'", max_results=MOST_RUNS)
    for each in found:
        metrics = metrics_of(each)
        if quality in metrics and digest in {one.dataset.digest for one in each.inputs.dataset_inputs}:
            rows[each.info.run_id] = {**metrics, P99: _p99(each, tracking_uri), "name": each.info.run_name}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    if len(frame) < 2:
        return []
    names = sorted(name for name in map(str, frame) if PRICES.fullmatch(name))
    limits = {"privacy/epsilon": _limit(gates, "privacy", "most"), P99: _limit(gates, "latency", "p99_ms")}
    prices = []
    for name in [*names, P99, CO2E]:
        limit = limits.get(name)
        if name.startswith("fairness/"):
            gap = str((gates.get("fairness") or {}).get("metric"))
            limit = _limit(gates, "fairness", "most") if name == gap or name.endswith(f"/{gap}") else None
        if name in frame and (price := _priced(frame, name, quality, candidate.run_id, limit)) is not None:
            prices.append(price)
    return prices


def _priced(
    frame: pd.DataFrame, constraint: str, quality: str, candidate: str, limit: float | None
) -> ConstraintPrice | None:
    runs = frame[[constraint, quality, "name"]].set_axis(["constraint", "quality", "name"], axis=1)
    runs = runs[np.isfinite(runs[["constraint", "quality"]].astype(float)).all(axis=1)]
    if runs["constraint"].nunique() < 2:
        return None
    modes = {"constraint": "min", "quality": direction(quality)}
    runs = runs.assign(candidate=runs.index == candidate, on=front(runs[["constraint", "quality"]], modes))
    return ConstraintPrice(constraint, quality, runs.sort_values(["constraint", "quality"]), limit)


def _quality(candidate: Evidence, gates: Mapping[str, Any]) -> str | None:
    """Profit where decisions are priced, else the metric of the quality gate."""
    options = gates.get("quality") or {}
    split = options.get("split", "test")
    wanted = (f"{split}/profit", f"{split}/{options.get('metric', 'loss')}")
    return next((name for name in wanted if name in candidate.metrics), None)


def _limit(gates: Mapping[str, Any], gate: str, option: str) -> float | None:
    found = (gates.get(gate) or {}).get(option)
    return None if found is None else float(found)


def _p99(run: Any, tracking_uri: str | None) -> float:
    """Of a load test of the weights that the run has now; NaN where there is none."""
    folder = local_folder(run, tracking_uri)
    if folder is None or not (folder / "load.json").is_file():
        return np.nan
    try:
        load = json.loads((folder / "load.json").read_text(encoding="utf-8"))
        checkpoint = checkpoint_in(folder)
        if checkpoint is None or load.get(KEY) is None or load[KEY] != digest_of(checkpoint):
            return np.nan
        return float(load["open"]["ms"]["p99"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return np.nan


def drawn(price: ConstraintPrice) -> str:
    """The runs as a picture, with the front as steps and the candidate marked."""
    runs = price.runs
    x, y = runs["constraint"].to_numpy(dtype=float), runs["quality"].to_numpy(dtype=float)
    log = bool((x > 0).all()) and svg.spans_magnitudes(x)
    chart = svg.Chart(
        svg.limits(x, log=log), svg.limits(y), x_label=price.name, y_label=price.quality, x_log=log, left=62,
        title=f"{price.quality} against {price.name}: {price.claim}",
    )  # fmt: skip
    edge = runs[runs["on"]].drop_duplicates(["constraint", "quality"])
    if len(edge) > 1:
        xs, ys = edge["constraint"].to_numpy(dtype=float), edge["quality"].to_numpy(dtype=float)
        chart.line(np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1], colour=svg.COLOURS[1], width=1.6, dash="5 3")
    for _, each in runs.iterrows():
        colour = svg.COLOURS[0] if each["candidate"] else svg.COLOURS[1] if each["on"] else "#7F7F7F"
        tip = f"{each['name']}: {price.quality} {each['quality']:.4g}, {price.name} {each['constraint']:.4g}"
        mark = "square" if each["on"] and not each["candidate"] else "circle"
        chart.dot(each["constraint"], each["quality"], colour=colour, size=5 if each["candidate"] else 3.6,
                  mark=mark, tip=tip)  # fmt: skip
    mine = runs[runs["candidate"]]
    if len(mine):
        left = chart.x(float(mine["constraint"].iloc[0])) > svg.WIDTH * 0.6
        chart.text(
            float(mine["constraint"].iloc[0]), float(mine["quality"].iloc[0]), "candidate",
            anchor="end" if left else "start", dx=-8 if left else 8,
        )  # fmt: skip
    if price.limit is not None and chart.x.low <= (np.log10(price.limit) if log else price.limit) <= chart.x.high:
        chart.upright(price.limit)
    return chart.done()
