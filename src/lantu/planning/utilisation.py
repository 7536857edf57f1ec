"""How much of a device's peak FLOP/s training uses, from published runs.

`published_runs.csv` lists measured model FLOPs utilisation (MFU) of GPTs at 16 bits: MosaicML's benchmarks of
llm-foundry (github.com/mosaicml/llm-foundry, scripts/train/benchmarking, 2023) and Meta's of torchtitan
(github.com/pytorch/torchtitan, benchmarks, December 2024). `published_totals.csv` lists the GPU hours of whole training
runs, restarts and all, against which the estimate is checked.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp, log
from typing import Any

import numpy as np

NEAREST = 4
"""Published runs that are averaged, the nearer ones with more weight."""


@dataclass(frozen=True)
class PublishedRun:
    """A measured utilisation."""

    run: str
    device: str
    parameters: float
    context: float
    devices: float
    utilisation: float


@dataclass(frozen=True)
class Utilisation:
    """The share of the peak FLOP/s that model FLOPs use, with a range."""

    value: float
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        assert 0 < self.low <= self.value <= self.high


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    """The runs of `published_runs.csv`."""
    return tuple(
        PublishedRun(row["run"], row["device"], *(float(row[name]) for name in _NUMBERS)) for row in _read("runs")
    )


_NUMBERS = ("parameters", "context", "devices", "utilisation")


def expected(device: str, *, parameters: float, context: float, devices: int) -> Utilisation:
    """What published runs of similar size, context and number of devices reached.

    Args:
        device: a device's name, such as "NVIDIA H100"; of a kind that no run was published for, all runs count.
        context: tokens of a sequence.

    Returns:
        The weighted mean of the nearest runs; nine of ten leave-one-out estimates lie within a range as wide as this.
    """
    chip = device.lower().replace("h200", "h100")  # the same chip with more memory
    runs = [each for each in published_runs() if each.device.split()[0].lower() in chip]
    known = bool(runs)
    runs = runs or list(published_runs())
    value, nearest = _estimate(runs, parameters=parameters, context=context, devices=devices)
    miss = float(np.quantile(_errors(tuple(runs)), 0.9))
    names = ", ".join(dict.fromkeys(f"{each.run} on {each.devices:.0f}" for each in nearest[:2]))
    source = f"published runs such as {names}"
    if not known:
        source += f"; none was published for this device, so those of {_kinds(runs)} stand in"
        miss = max(miss, 0.35)
    return Utilisation(value, value / (1 + miss), min(value * (1 + miss), 0.95), source)


def leave_one_out() -> np.ndarray:
    """Relative errors of the estimate for every published run from the others on the same device, (runs,)."""
    runs = published_runs()
    kinds = dict.fromkeys(each.device for each in runs)
    return np.concatenate([_errors(tuple(each for each in runs if each.device == kind)) for kind in kinds])


@dataclass(frozen=True)
class Check:
    """A published training run beside the estimate of its GPU hours."""

    run: str
    hours: float
    estimate: Utilisation
    estimated_hours: float

    @property
    def error(self) -> float:
        """Estimate over truth, less one."""
        return self.estimated_hours / self.hours - 1


def checks(peaks: dict[str, float]) -> list[Check]:
    """Estimates of the GPU hours that whole published runs took.

    Args:
        peaks: FLOP/s at 16 bits by kind of device, such as {"H100": 989.4e12}.
    """
    found = []
    for row in _read("totals"):
        n, layers, width, context = (float(row[name]) for name in ("parameters", "layers", "width", "context"))
        flops = float(row["tokens"]) * (6 * n + 12 * layers * width * context)
        devices = int(row["devices"] or 1024)
        estimate = expected(row["device"], parameters=n, context=context, devices=devices)
        hours = flops / (peaks[row["device"]] * estimate.value) / 3600
        found.append(Check(row["run"], float(row["device_hours"]), estimate, hours))
    return found


def _estimate(
    runs: Sequence[PublishedRun], *, parameters: float, context: float, devices: float
) -> tuple[float, list[PublishedRun]]:
    """The weighted geometric mean of the nearest runs, and those runs, the nearest first."""

    def distance(each: PublishedRun) -> float:
        apart = (parameters / each.parameters, context / each.context, (devices / each.devices) ** 0.5)
        return sum(abs(log(ratio)) for ratio in apart)

    nearest = sorted(runs, key=distance)[:NEAREST]
    weights = np.array([1 / (0.3 + distance(each)) for each in nearest])
    logs = np.log([each.utilisation for each in nearest])
    return exp(float((weights * logs).sum() / weights.sum())), nearest


@cache
def _errors(runs: tuple[PublishedRun, ...]) -> np.ndarray:
    """Absolute relative errors of leave-one-out estimates."""
    errors = []
    for place, each in enumerate(runs):
        others = runs[:place] + runs[place + 1 :]
        value, _ = _estimate(others, parameters=each.parameters, context=each.context, devices=each.devices)
        errors.append(abs(value / each.utilisation - 1))
    return np.array(errors)


def _kinds(runs: Sequence[PublishedRun]) -> str:
    return " and ".join(sorted({each.device.split()[0] for each in runs}))


def _read(name: str) -> list[dict[str, Any]]:
    with (files("lantu.planning") / f"published_{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
