"""Serve one table model with `lantu serve` and with `mlflow models serve`, and load both in the same minutes.

    python scripts/bench/serving.py TABLE.csv TARGET [--seconds 10] [--clients 16] [--reload-requests 100000]

A model is trained on the table for an epoch, registered, and served. Both servers have one process and one thread of
torch, on the machine's first core, and are asked from another; they take turns, `--rounds` times, so that what else the
machine does falls on both. Then the given number of
requests is sent to `lantu serve run=models:/bench@champion` while the alias moves to another version in the middle: no
answer may be lost or be another than the model that it names gives.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import psutil
import uvloop
from mlflow import MlflowClient

from lantu.inference.rebuild import rebuild
from lantu.serving.load.bodies import bodies_of
from lantu.serving.load.client import Body, Measured, closed_loop
from lantu.tracking.find import find_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reload-requests", type=int, default=100_000)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, range(1, os.cpu_count() or 2))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _train(root, asked, "seed=0")
        bodies, _ = bodies_of(rebuild(find_checkpoint("last", store=root / "mlruns")), asked.table)
        bodies = [Body(_without(each.content, asked.target)) for each in bodies if b"null" not in each.content]
        _compare(root, bodies, asked)
        if asked.reload_requests:
            _reload(root, bodies, asked)


def _compare(root: Path, bodies: list[Body], asked: argparse.Namespace) -> None:
    found: dict[str, list[Measured]] = {"lantu serve": [], "mlflow models serve": []}
    with _serve_lantu(root, "run=last") as ours, _serve_mlflow(root) as theirs:
        places = {
            "lantu serve": (f"{ours[0]}/predict", ours[1]),
            "mlflow models serve": (f"{theirs[0]}/invocations", theirs[1]),
        }
        cpu = dict.fromkeys(found, 0.0)
        for url, _ in places.values():
            asyncio.run(closed_loop(url, bodies, clients=2, seconds=3))
        for _ in range(asked.rounds):
            for name, (url, pid) in places.items():
                before = _cpu(pid)
                measured = uvloop.run(_lean_loop(url, bodies, clients=asked.clients, seconds=asked.seconds))
                found[name].append(measured)
                cpu[name] += _cpu(pid) - before
    rounds = f"{asked.rounds} rounds of {asked.seconds:g} s each"
    print(f"{asked.clients} clients, {rounds}; medians; load average {os.getloadavg()[0]:.1f}")
    for name, each_round in found.items():
        speed = statistics.median(each.per_second for each in each_round)
        p50, p99 = (statistics.median(each.ms.get(part, 0.0) for each in each_round) for part in ("p50", "p99"))
        errors = sum(sum(each.errors.values()) for each in each_round)
        if not p99:
            raise SystemExit(f"{name} answered nothing: {each_round[0].errors}")
        used = cpu[name] / sum(each.rows for each in each_round) * 1000
        latency = f"p50 {p50:8.2f} ms   p99 {p99:8.2f} ms"
        print(f"  {name:<20} {speed:8.1f}/s   {latency}   {errors} errors   {used:.2f} ms CPU each")


async def _lean_loop(url: str, bodies: list[Body], *, clients: int, seconds: float) -> Measured:
    """A closed loop over bare sockets: a library's client takes more processor time than the server under test."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
    sent = [f"{head}{len(each.content)}\r\n\r\n".encode() + each.content for each in bodies]
    times: list[float] = []
    errors: dict[str, int] = {}
    began = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while time.perf_counter() - began < seconds:
            before = time.perf_counter()
            writer.write(sent[number % len(sent)])
            header = await reader.readuntil(b"\r\n\r\n")
            length = int(header.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            status = header.split(b" ", 2)[1].decode()
            if status == "200":
                times.append(time.perf_counter() - before)
            else:
                errors[status] = errors.get(status, 0) + 1
            number += clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    spent = time.perf_counter() - began
    found = Measured("closed", clients=clients, seconds=spent, requests=len(times) + sum(errors.values()))
    found.rows, found.errors, found.per_second = len(times), errors, len(times) / spent
    if times:
        p50, p99 = np.percentile(np.array(times) * 1000, [50, 99], method="higher")
        found.ms = {"p50": float(p50), "p99": float(p99)}
    return found


def _reload(root: Path, bodies: list[Body], asked: argparse.Namespace) -> None:
    """Count answers that are lost or wrong while the champion changes."""
    _train(root, asked, "seed=1", "optimizer.lr=0.01")
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    runs = client.search_runs(
        [str(getattr(client.get_experiment_by_name("bench"), "experiment_id", ""))], order_by=["attributes.start_time"]
    )
    for run in runs:
        _lantu(root, "register", f"run={run.info.run_id}", "name=bench", "alias=candidate")
    client.set_registered_model_alias("bench", "champion", "1")
    with _serve_lantu(root, "run=models:/bench@champion", "reload_every=1") as (address, _):
        expected: dict[str, list[float]] = {"bench/1": _answers(address, bodies)}
        client.set_registered_model_alias("bench", "champion", "2")
        _await_version(address, "2")
        expected["bench/2"] = _answers(address, bodies)
        client.set_registered_model_alias("bench", "champion", "1")
        _await_version(address, "1")
        seen: dict[str, int] = {}

        def check(place: int, answer: bytes) -> str:
            reply = json.loads(answer)
            model, value = reply["model"], reply["predictions"][0]["probability"]
            seen[model] = seen.get(model, 0) + 1
            if len(seen) == 1 and sum(seen.values()) == asked.reload_requests // 2:
                threading.Thread(target=client.set_registered_model_alias, args=("bench", "champion", "2")).start()
            return "" if abs(value - expected[model][place]) < 1e-6 else "wrong"

        found = asyncio.run(
            closed_loop(
                f"{address}/predict",
                bodies,
                clients=asked.clients,
                seconds=540,
                requests=asked.reload_requests,
                check=check,
            )
        )
    print(f"reload in the middle: {found.requests:,} requests, answered by {seen}, lost or wrong: {found.errors or 0}")


def _answers(address: str, bodies: list[Body]) -> list[float]:
    return [_post(f"{address}/predict", each.content)["predictions"][0]["probability"] for each in bodies]


def _await_version(address: str, version: str) -> None:
    while json.load(urlopen(f"{address}/model"))["version"] != version:
        time.sleep(0.1)


def _post(url: str, content: bytes) -> Any:
    return json.load(urlopen(Request(url, content, {"Content-Type": "application/json"})))


def _without(content: bytes, target: str) -> bytes:
    """One row without the target, in the form that both servers take."""
    rows = [{key: value for key, value in row.items() if key != target} for row in json.loads(content)["inputs"]]
    return json.dumps({"dataframe_records": rows}).encode()


def _train(root: Path, asked: argparse.Namespace, *overrides: str) -> None:
    _lantu(
        root, "train", "data=csv", f"data.path={asked.table.absolute()}", f"data.target={asked.target}", "model=mlp",
        "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "callbacks.figures=null", "experiment_name=bench",
        *overrides,
    )  # fmt: skip


def _lantu(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "lantu", *arguments, f"paths.root={root}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _serve_lantu(root: Path, *options: str) -> Iterator[tuple[str, int]]:
    port = _free()
    command = [sys.executable, "-m", "lantu", "serve", f"port={port}", "log=false", f"paths.root={root}", *options]
    with _started(command, f"http://127.0.0.1:{port}", "/ready") as found:
        yield found


@contextmanager
def _serve_mlflow(root: Path) -> Iterator[tuple[str, int]]:
    """MLflow's server over the model that the run left, in this environment, with one worker."""
    port = _free()
    model = max(root.glob("mlruns/runs/*/*/model"), key=lambda each: each.stat().st_mtime)
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local", "-p", str(port),
        "-w", "1",
    ]  # fmt: skip
    with _started(command, f"http://127.0.0.1:{port}", "/ping", _scripts()) as found:
        yield found


def _scripts() -> str:
    """PATH with the folder of uvicorn's command, which `mlflow models serve` starts by its name.

    Without it MLflow's server ends at once in an environment that was not activated.
    """
    files = distribution("uvicorn").files or []
    folders = {str(Path(str(each.locate())).resolve().parent) for each in files if each.name == "uvicorn"}
    return os.pathsep.join([str(Path(sys.executable).parent), *folders, os.environ.get("PATH", "")])


@contextmanager
def _started(command: list[str], address: str, ready: str, path: str | None = None) -> Iterator[tuple[str, int]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path or os.environ.get("PATH", "")}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, [0])  # its threads and children follow
        try:
            _await_ready(process, said, f"{address}{ready}")
            yield address, process.pid
        finally:
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                    each.terminate()
            process.wait(timeout=60)


def _await_ready(process: Any, said: IO[str], url: str) -> None:
    """Wait until a server answers; ends the script with what the server said where it does not."""
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    said.seek(0)
    raise SystemExit(f"{' '.join(process.args)} does not answer at {url}:\n{said.read()[-2000:]}")


def _cpu(pid: int) -> float:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
