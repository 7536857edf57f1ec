"""How long a comparison takes, as a ratio to `mlflow.search_runs` on the same store.

    python scripts/bench/compare.py [runs=1000] [points=100] [store=FOLDER] [parts=mlflow,table,report] [tries=3]

Writes the runs of a made-up sweep into a SQLite store (schema by MLflow, rows in bulk), then measures, each in a
process of its own and after its imports: `mlflow.search_runs`, reading and comparing, and the whole HTML report.
The rows give processor seconds, the ratio to the first row, peak memory, and the size of the report.
"""

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

START = 1_760_000_000_000
CHUNK = 2_000
"""Runs that are made before they are written, so that memory stays bounded."""


def make(folder: Path, *, runs: int, points: int, seeds: int = 5) -> str:
    """Fill a store with a random search, `seeds` runs a configuration; gives its tracking URI.

    The truth: loss = 0.05 + 6 / parameters^0.35 + 40 / samples^0.45 + 0.04 (log10 lr + 2.5)^2, and cnn is 0.02 better.
    """
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("bench", artifact_location=str(folder / "artifacts"))
    parent = client.create_run(experiment, run_name="bench").info.run_id
    client.set_terminated(parent)
    random = np.random.default_rng(0)
    constant = {f"trainer.option_{place}": "None" for place in range(60)} | {"data.batch_size": "32"}
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in ("runs", "params", "tags", "latest", "metrics")}
    settings: dict[str, object] = {}
    for number in range(runs):
        if number % seeds == 0:
            settings = {
                "optimizer.lr": float(f"{10 ** random.uniform(-4, -1):.3g}"),
                "optimizer.weight_decay": float(random.choice([0.0, 0.01, 0.1])),
                "model.width": int(random.choice([16, 32, 64, 128, 256])),
                "choices.model": str(random.choice(["cnn", "mlp", "resnet"])),
                "trainer.max_epochs": int(random.choice([2, 4, 8, 16])),
            }
        run_id, begin = uuid.UUID(bytes=random.bytes(16)).hex, START + 90_000 * number
        width, epochs = int(str(settings["model.width"])), int(str(settings["trainer.max_epochs"]))
        parameters, samples = 40.0 * width**2, 6400.0 * epochs
        loss = 0.05 + 6 / parameters**0.35 + 40 / samples**0.45
        loss += 0.04 * (np.log10(float(str(settings["optimizer.lr"]))) + 2.5) ** 2 - 0.02 * (
            settings["choices.model"] == "cnn"
        )
        loss += random.normal(0, 0.004)
        usd = 1e-13 * 6 * parameters * samples * 40 + 0.01
        end = begin + int(1000 * (20 + epochs * width / 16))
        rows["runs"].append((run_id, f"bench {number}", "UNKNOWN", "me", "FINISHED", begin, end, "active", experiment))
        varying = {**settings, "seed": number % seeds, "name": f"bench {number}", "paths.run": f"/runs/{run_id}"}
        rows["params"] += [(key, str(value), run_id) for key, value in (constant | varying).items()]
        tags = {"lantu.sweep": "bench", "mlflow.parentRunId": parent, "lantu.model": str(settings["choices.model"])}
        rows["tags"] += [(key, value, run_id) for key, value in tags.items()]
        last = {
            "test/loss": loss + 0.01,
            "test/accuracy": 1 - loss / 2,
            "model/parameters": parameters,
            "speed/latency_ms": 0.2 + width / 200,
            "speed/samples_per_second": 4e5 / width,
            "cost/kwh": usd * 2,
            "cost/co2e_kg": usd * 0.8,
            "cost/device_hours": usd / 2,
        }
        step = np.linspace(0, samples / 32 - 1, points).astype(int)
        share = np.linspace(0, 1, points) ** 0.5
        curve = np.minimum.accumulate(
            loss + (2.3 - loss) * (1 - share) ** 2 + random.exponential(0.01, points) * (1 - share)
        )
        curves = {"val/loss": curve, "train/loss": curve * 0.9, "cost/usd": np.linspace(0, usd, points)}
        when = np.linspace(begin, end, points).astype(int)
        for key, values in curves.items():
            rows["metrics"] += [
                (key, float(v), int(w), run_id, int(s), 0) for v, w, s in zip(values, when, step, strict=True)
            ]
            last[key] = float(values[-1])
        rows["metrics"] += [
            (key, value, end, run_id, int(step[-1]), 0) for key, value in last.items() if key not in curves
        ]
        rows["latest"] += [(key, value, end, int(step[-1]), 0, run_id) for key, value in last.items()]
        if number % CHUNK == CHUNK - 1 or number == runs - 1:
            insert(folder / "mlflow.db", rows)
            rows = {name: [] for name in rows}
    return uri


COLUMNS = {
    "runs": "runs(run_uuid,name,source_type,user_id,status,start_time,end_time,lifecycle_stage,experiment_id)",
    "params": "params(key,value,run_uuid)",
    "tags": "tags(key,value,run_uuid)",
    "latest": "latest_metrics(key,value,timestamp,step,is_nan,run_uuid)",
    "metrics": "metrics(key,value,timestamp,run_uuid,step,is_nan)",
}
"""MLflow's tables, in an order in which each row refers to rows that are there."""


def insert(file: Path, rows: dict[str, list[tuple[object, ...]]]) -> None:
    """Write rows into MLflow's own tables, as no tracking call does: a hundred times faster."""
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA synchronous = OFF")
        for name, statement in COLUMNS.items():
            marks = ",".join("?" * len(rows[name][0]))
            database.executemany(f"INSERT INTO {statement} VALUES ({marks})", rows[name])


def measure(what: str, uri: str) -> dict[str, float]:
    """What one thing takes in this process, after its imports: processor seconds, and MB of the report."""
    if what == "mlflow":
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.search_experiments()
        began = time.process_time()
        found = mlflow.search_runs(experiment_names=["bench"], max_results=100_000)
        assert len(found) > 1
        return {"seconds": time.process_time() - began}
    from lantu.compare import compare_command
    from lantu.compare.analysis import Options, analyse
    from lantu.compare.reading.run_frames import Selection
    from lantu.compare.reading.stores import open_reader

    compare_command.import_everything()
    began = time.process_time()
    reader = open_reader(uri)
    analysis = analyse(reader, Selection(sweeps=("bench",)), Options(business=compare_command.shipped_business()))
    if what == "table":
        return {"seconds": time.process_time() - began}
    from lantu.compare.report.page import write_report

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_report(analysis, reader, page)
        return {"seconds": time.process_time() - began, "megabytes": page.stat().st_size / 1e6}


def main() -> None:
    """Make the store, measure in fresh processes, print the ratios."""
    options = dict(each.split("=", 1) for each in sys.argv[1:])
    if "measure" in options:
        found = measure(options["measure"], options["uri"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "mebibytes": peak}))
        return
    runs, points = int(options.get("runs", 1000)), int(options.get("points", 100))
    parts = options.get("parts", "mlflow,table,report").split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(options.get("store", folder))
        place.mkdir(parents=True, exist_ok=True)
        uri = (
            f"sqlite:///{place / 'mlflow.db'}"
            if (place / "mlflow.db").exists()
            else make(place, runs=runs, points=points)
        )
        print(f"{runs:,} runs with {points} points of 3 metrics each")
        taken: dict[str, dict[str, float]] = {}
        for what in parts:
            tries = []
            for _ in range(int(options.get("tries", 3))):
                command = [sys.executable, __file__, f"measure={what}", f"uri={uri}"]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                tries.append(json.loads(answer.splitlines()[-1]))
            taken[what] = min(tries, key=lambda each: each["seconds"])
        first = taken[parts[0]]["seconds"]
        for what, each in taken.items():
            size = f"   {each['megabytes']:5.2f} MB of HTML" if "megabytes" in each else ""
            print(
                f"{NAMES[what]:20} {each['seconds']:7.2f} processor seconds   x {each['seconds'] / first:5.2f}   "
                f"{each['mebibytes']:6.0f} MiB{size}"
            )


NAMES = {"mlflow": "mlflow.search_runs", "table": "read and compare", "report": "HTML report"}


if __name__ == "__main__":
    main()
