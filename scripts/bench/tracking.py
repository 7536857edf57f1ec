"""What keeping a run's record costs the training: nothing, our logger, and Lightning's MLFlowLogger, side by side.

Run: python scripts/bench/tracking.py [--calls 300] [--steps 300] [--points 1000000]
Four questions: how long a logging call takes whatever the store is doing; how much a loop of 5 ms steps slows down when
it logs three values at every step; how memory grows over a million points; how many acknowledged points SIGKILL loses.
"""

import argparse
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

Log = Callable[[dict[str, float], int], None]


def main() -> None:
    """Answer the four questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--victim", nargs=2, metavar=("LOGGER", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.disable(logging.WARNING)
    if asked.victim:
        _log_until_killed(*asked.victim)
    console = Console()
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder) / "server") as port:
        console.print(_calls(Path(folder), port, asked.calls))
        console.print(_loops(Path(folder), port, asked.steps))
        console.print(_memory(Path(folder), asked.points))
        console.print(_kills(Path(folder)))


def _calls(folder: Path, port: int, count: int) -> Table:
    """Microseconds of a call, by what the store is doing."""
    with _slowed(port) as slow, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)  # takes connections and never answers
        stores = {
            "SQLite file": None,
            "server, up": f"http://127.0.0.1:{port}",
            "server, a second slower": f"http://127.0.0.1:{slow}",
            "server, refusing": f"http://127.0.0.1:{_free_port()}",
            "server, silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        table = Table("store", "ours, µs", "99th", "MLFlowLogger, µs", "ratio", title="a logging call")
        for number, (name, uri) in enumerate(stores.items()):
            ours = _timed(_our_log(folder / f"calls{number}", uri), count)
            theirs = None
            if name in ("SQLite file", "server, up"):  # elsewhere it raises, or waits for minutes
                theirs = _timed(_their_log(folder / f"calls{number}-theirs", uri), min(count, 100))
            table.add_row(
                name, f"{_median(ours):.0f}", f"{sorted(ours)[int(0.99 * len(ours))] * 1e6:.0f}",
                f"{_median(theirs):.0f}" if theirs else "does not run",
                f"{_median(theirs) / _median(ours):.0f}x" if theirs else "",
            )  # fmt: skip
    return table


def _loops(folder: Path, port: int, steps: int) -> Table:
    """A loop of 5 ms steps with three values each; the loggers take turns."""
    logs: dict[str, Log] = {
        "no logger": lambda values, step: None,
        "ours, SQLite": _our_log(folder / "loop", None),
        "ours, server": _our_log(folder / "loop-http", f"http://127.0.0.1:{port}"),
        "MLFlowLogger, SQLite": _their_log(folder / "loop-theirs", None),
        "MLFlowLogger, server": _their_log(folder / "loop-theirs", f"http://127.0.0.1:{port}"),
    }
    spent: dict[str, list[float]] = {name: [] for name in logs}
    for step in range(steps):
        for name, log in logs.items():
            begin = time.perf_counter()
            while time.perf_counter() - begin < 0.005:
                pass
            log({"train/loss": 0.5, "train/accuracy": 0.5, "train/lr": 0.1}, step)
            spent[name].append(time.perf_counter() - begin)
    plain = statistics.median(spent["no logger"])
    table = Table("loop", "ms a step", "slower by", title="three values at every 5 ms step")
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        table.add_row(name, f"{median * 1e3:.3f}", f"{median / plain - 1:.2%}")
    return table


def _memory(folder: Path, points: int) -> Table:
    import psutil

    log = _our_log(folder / "memory", None, ship=False)
    process = psutil.Process()
    table = Table("points", "MiB more than at the start", title="memory of the training process")
    for number in range(1000):
        log({"a": 0.5}, number)
    start = process.memory_info().rss
    begin = time.perf_counter()
    for number in range(1, points + 1):
        log({"a": 0.5}, number)
        if number in (points // 10, points):
            table.add_row(f"{number:,}", f"{(process.memory_info().rss - start) / 2**20:.1f}")
    table.caption = f"{points / (time.perf_counter() - begin):,.0f} points a second"
    return table


def _kills(folder: Path) -> Table:
    """Points whose call had returned, and which are nowhere after SIGKILL and `lantu sync`."""
    from mlflow import MlflowClient

    table = Table("logger", "acknowledged", "lost", title="SIGKILL after two seconds of logging")
    for name in ("ours", "MLFlowLogger asynchronous"):
        place = folder / f"kill-{name.split()[0]}"
        place.mkdir()
        victim = subprocess.Popen([sys.executable, __file__, "--victim", name, str(place)], start_new_session=True)
        while not (place / "acknowledged").exists():
            time.sleep(0.05)
        time.sleep(2)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        if name == "ours":
            sync = [sys.executable, "-m", "lantu", "sync", "--store", str(place)]
            while subprocess.run(sync, check=False, capture_output=True).returncode:
                time.sleep(1)  # its own uploader, which is still alive, is uploading
        acknowledged = len((place / "acknowledged").read_text().split())
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        arrived = sum(len(client.get_metric_history(run.info.run_id, "a")) for run in runs)
        table.add_row(name, f"{acknowledged:,}", f"{max(0, acknowledged - arrived):,}")
    return table


def _log_until_killed(name: str, folder: str) -> None:
    place = Path(folder)
    if name == "ours":
        log = _our_log(place, None)
    else:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
        mlflow.start_run()

        def log(values: dict[str, float], step: int) -> None:
            mlflow.log_metrics(values, step=step, synchronous=False)

    acknowledged = os.open(place / "acknowledged", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for step in range(10**9):
        log({"a": 0.5}, step)
        os.write(acknowledged, b"%d\n" % step)
        time.sleep(0.002)


def _our_log(folder: Path, uri: str | None, *, ship: bool = True) -> Log:
    from lantu.tracking import RunLogger

    return RunLogger(
        run_dir=folder / "runs" / "a", experiment="bench", tracking_uri=uri, ship=ship, store=folder
    ).log_metrics


def _their_log(folder: Path, uri: str | None) -> Log:
    from pytorch_lightning.loggers import MLFlowLogger

    folder.mkdir(exist_ok=True, parents=True)
    logger = MLFlowLogger("bench", tracking_uri=uri or f"sqlite:///{folder}/mlflow.db")
    logger.log_metrics({"a": 0.0}, 0)  # creates the store and the run
    return logger.log_metrics


def _timed(log: Log, count: int) -> list[float]:
    """Seconds of each call, after the first, which opens the run."""
    seconds = []
    for step in range(count + 1):
        begin = time.perf_counter()
        log({"train/loss": 0.5}, step)
        seconds.append(time.perf_counter() - begin)
        time.sleep(0.002)
    return seconds[1:]


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _slowed(port: int) -> Iterator[int]:
    """A proxy that adds a second to every answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(50)

    def pump(source: socket.socket, sink: socket.socket, delay: float) -> None:
        while data := source.recv(65536):
            time.sleep(delay)
            sink.sendall(data)

    def serve() -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, sink, delay in ((client, server, 0.0), (server, client, 1.0)):
                threading.Thread(target=pump, args=(source, sink, delay), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
