"""Runs with a known truth, written into a real MLflow store through MLflow's own client."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.stores import new_store

COMMON = {
    "trainer.max_epochs": 10,
    "trainer.precision": "32-true",
    "optimizer._target_": "torch.optim.AdamW",
    "data.batch_size": 64,
    "choices.data": "digits",
}


@dataclass
class Made:
    """One run to be written."""

    name: str
    params: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    """Logged once, at the end."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Logged at steps 10, 20, 30, ..."""
    tags: dict[str, str] = field(default_factory=dict)
    status: str = "FINISHED"
    seconds: float = 60.0
    parent: str | None = None


def uri(folder: Path) -> str:
    """The tracking URI of the store in a folder, made where there is none."""
    return new_store(folder)


def write(tracking_uri: str, runs: Iterable[Made], *, experiment: str = "made") -> list[str]:
    """Write runs; gives their ids."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    path = tracking_uri.removeprefix("sqlite:///")
    beside = path.removesuffix("mlflow.db") + "artifacts" if path != tracking_uri else None
    where = found.experiment_id if found else client.create_experiment(experiment, artifact_location=beside)
    start, ids = 1_700_000_000_000, []
    for place, made in enumerate(runs):
        begin = start + place * 1000
        tags = {**made.tags, **({"mlflow.parentRunId": made.parent} if made.parent else {})}
        run = client.create_run(where, start_time=begin, run_name=made.name)
        run_id = run.info.run_id
        end = begin + int(made.seconds * 1000)
        metrics = [Metric(key, float(value), end, 1000) for key, value in made.metrics.items()]
        for key, values in made.curves.items():
            times = np.linspace(begin, end, len(values) + 1)[1:].astype(int)
            metrics += [
                Metric(key, float(value), int(when), 10 * (step + 1))
                for step, (value, when) in enumerate(zip(values, times, strict=True))
            ]
        params = {**COMMON, "name": made.name, "paths.run": f"/runs/{run_id}", **made.params}
        client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        client.set_terminated(run_id, status=made.status, end_time=end)
        ids.append(run_id)
    return ids


def falling(final: float, *, points: int = 10, start: float = 2.3) -> list[float]:
    """A learning curve that ends at `final`, its lowest point."""
    return [final + (start - final) * (1 - (i + 1) / points) ** 2 for i in range(points)]


def grid(
    *,
    lrs: tuple[float, ...] = (1e-4, 1e-3, 1e-2),
    widths: tuple[int, ...] = (32, 128),
    seeds: int = 4,
    noise: float = 0.01,
) -> list[Made]:
    """A sweep of two architectures over learning rates and seeds.

    The truth: the loss is 0.3 + 0.1 (log10 lr + 3)^2, less 0.05 for the wide one, which costs four times as much.
    """
    random, made = np.random.default_rng(0), []
    luck = random.normal(0, noise, seeds)
    for width in widths:
        for lr in lrs:
            for seed in range(seeds):
                wide = width == max(widths)
                loss = 0.3 + 0.1 * (np.log10(lr) + 3) ** 2 - 0.05 * wide + luck[seed] + random.normal(0, noise / 2)
                usd = 0.10 * (4 if wide else 1)
                made.append(
                    Made(
                        name=f"mlp digits lr={lr} width={width} seed={seed}",
                        params={"seed": seed, "optimizer.lr": lr, "model.width": width, "choices.model": "mlp"},
                        metrics={
                            "test/loss": loss + 0.02,
                            "test/accuracy": 1 - loss / 3,
                            "model/parameters": 1000.0 * width,
                            "speed/latency_ms": 0.5 + width / 100,
                            "speed/samples_per_second": 1e5 / width,
                            "cost/kwh": usd / 2,
                            "cost/co2e_kg": usd / 5,
                            "cost/device_hours": usd / 2.5,
                        },
                        curves={
                            "val/loss": falling(loss),
                            "val/accuracy": [1 - each / 3 for each in falling(loss)],
                            "cost/usd": [usd * (i + 1) / 10 for i in range(10)],
                        },
                        tags={"lantu.sweep": "lr_width", "lantu.model": "mlp", "lantu.data": "digits"},
                        seconds=60.0 * (4 if wide else 1),
                    )
                )
    return made
