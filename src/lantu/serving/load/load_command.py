"""The `load` command: start a server on loopback, load-test it, and print throughput, latency and cost."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
from omegaconf import DictConfig

from lantu import units
from lantu.checkpoints.digest import KEY, digest_of
from lantu.config.output_paths import check_file_to_write
from lantu.errors import UserError
from lantu.extras import require
from lantu.inference.rebuild import rebuild
from lantu.log_noise import without_noise
from lantu.tracking.find import find_checkpoint
from lantu.whole_files import write_whole

START_SECONDS = 120
LONGEST = 600
"""Seconds of one loop at most."""


@dataclass(frozen=True)
class Running:
    """A server under test."""

    url: str
    process: psutil.Process | None
    """None where it was not started here."""


def job(cfg: DictConfig) -> None:
    """Load, print a table, write `load.json`."""
    without_noise()
    try:
        found = load(cfg)
    except UserError as error:
        print(f"lantu load: {error}", file=sys.stderr)
        sys.exit(2)
    show(found)
    if not found["closed"]["rows"] and not found["open"]["rows"]:
        print("lantu load: no request was answered, so there is nothing to measure.", file=sys.stderr)
        sys.exit(1)


def load(cfg: DictConfig) -> dict[str, Any]:
    """Measure a model's server; the result is kept as `load.json` in the run's folder and at `output`.

    Of a server at `url` it is kept at `output` alone, since that may serve another model than the run's.

    Raises:
        UserError: an option is out of its range, there is nothing to send, or the server does not start.
    """
    for package in ("aiohttp", "starlette", "uvicorn"):
        require(package, "lantu load", "serve")
    from lantu.serving.load.bodies import bodies_of
    from lantu.serving.load.client import closed_loop, open_loop

    _check(cfg)
    checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
    path = Path(cfg.input).expanduser() if cfg.input else None
    bodies, described = bodies_of(rebuild(checkpoint), path, rows=cfg.rows)
    token = os.environ.get("LANTU_SERVE_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with _server(cfg) as running:
        url = f"{running.url}/predict"
        asyncio.run(closed_loop(url, bodies, clients=2, seconds=2, requests=50, headers=headers))  # warms up
        before = _cpu(running)
        closed = asyncio.run(closed_loop(url, bodies, clients=cfg.clients, seconds=cfg.seconds, headers=headers))
        spent = _cpu(running) - before
        alone = asyncio.run(closed_loop(url, bodies, clients=1, seconds=min(cfg.seconds, 5), headers=headers))
        rate = cfg.rate or max(1.0, round(closed.per_second * cfg.share, 1))
        opened = asyncio.run(open_loop(url, bodies, rate=rate, seconds=cfg.seconds, headers=headers))
        memory = running.process.memory_info().rss if running.process else None
    found: dict[str, Any] = {
        "run": str(cfg.run),
        KEY: digest_of(checkpoint) if cfg.url is None else None,
        "sent": described,
        "rows_per_request": cfg.rows,
        "one_client": alone.as_dict(),
        "closed": closed.as_dict(),
        "open": opened.as_dict(),
        "memory_bytes": memory,
        "cpu_seconds_per_thousand": round(spent / closed.rows * 1000, 5) if closed.rows and running.process else None,
        "predictions_per_second": round(closed.rows_per_second, 2),
        "server_per_hour": cfg.server_per_hour,
        "usd_per_thousand": None,
        "cores": os.cpu_count(),
    }
    if cfg.server_per_hour is not None and closed.rows_per_second:
        found["usd_per_thousand"] = cfg.server_per_hour / 3600 * 1000 / closed.rows_per_second
    keep(found, checkpoint if cfg.url is None else None, cfg.output)
    return found


def keep(found: dict[str, Any], checkpoint: Path | None, output: str | None) -> None:
    """Write the result beside the run's checkpoints, where `lantu promote` and `lantu launch` look for it."""
    text = json.dumps(found, indent=1)
    if checkpoint is not None and checkpoint.parent.name == "checkpoints":
        write_whole(checkpoint.parent.parent / "load.json", text)
    if output:
        write_whole(Path(output).expanduser(), text)


def show(found: dict[str, Any]) -> None:
    """Print what was measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    for name in ("", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name in ("one_client", "closed", "open"):
        each = found[name]
        clients = each.get("clients")
        how = f"{each.get('rate')}/s" if name == "open" else f"{clients} client{'s' * (clients != 1)}"
        ms = [f"{each['ms'][part]:.2f}" if each["ms"] else "" for part in ("p50", "p95", "p99", "max")]
        errors = ", ".join(f"{count} of {kind}" for kind, count in each["errors"].items()) or "0"
        table.add_row(f"{each['loop']}, {how}", f"{each['per_second']:.1f}", *ms, errors)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"sent     {found['sent']}, {found['rows_per_request']} in a request")
    if found["memory_bytes"]:
        console.print(f"memory   {found['memory_bytes'] / 1e6:.0f} MB")
    if found["cpu_seconds_per_thousand"]:
        console.print(f"CPU      {found['cpu_seconds_per_thousand']:.3g} s per thousand predictions")
    if found["usd_per_thousand"] is None:
        console.print("cost     not known: `server_per_hour=0.05` says what an hour of the machine costs in US dollars")
    else:
        price, hourly = units.format_money(found["usd_per_thousand"]), found["server_per_hour"]
        console.print(f"cost     {price} per thousand predictions at full load, with a machine at ${hourly:g} an hour")
    speed = found["predictions_per_second"]
    console.print(f"next     lantu compare business.predictions_per_second={speed}   the return at this speed")


def _check(cfg: DictConfig) -> None:
    if not 0 < cfg.seconds <= LONGEST:
        raise UserError(f"`seconds={cfg.seconds}`: a loop takes up to {LONGEST} seconds.")
    if cfg.clients < 1 or cfg.rows < 1:
        raise UserError("`clients` and `rows` are at least 1.")
    if cfg.rate is not None and not cfg.rate > 0:
        raise UserError(f"`rate={cfg.rate}`: requests a second, above 0.")
    if not 0 < cfg.share <= 1:
        raise UserError(f"`share={cfg.share}`: of the closed loop's throughput, above 0 and up to 1.")
    if cfg.output:
        check_file_to_write("output", str(cfg.output), ending=".json")
    if cfg.input and not Path(cfg.input).expanduser().exists():
        raise UserError(f"`input={cfg.input}`: there is no such file or folder.")


@contextmanager
def _server(cfg: DictConfig) -> Iterator[Running]:
    """The server at `url`, which must be on this machine, or one of our own that ends with the test."""
    from lantu.serving.serve_command import is_loopback

    if cfg.url is not None:
        if not is_loopback(urlsplit(cfg.url).hostname or ""):
            raise UserError(f"`url={cfg.url}`: a load test is for a server on this machine; 127.0.0.1 is.")
        yield Running(cfg.url.rstrip("/"), None)
        return
    command = [
        sys.executable, "-m", "lantu", "serve", f"run={cfg.run}", "port=0", "log=false", f"threads={cfg.threads}",
        f"paths.root={cfg.paths.root}",
    ]  # fmt: skip
    with TemporaryFile("w+", encoding="utf-8") as errors:  # a pipe that nothing reads would stop the server when full
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Running(_address(process, errors), psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if " at http://" not in line:
        process.wait(timeout=30)
        errors.seek(0)
        reason = errors.read().strip().splitlines()
        raise UserError(f"the server did not start: {reason[-1] if reason else 'it said nothing'}")
    address = f"http://{line.partition(' at http://')[2].split()[0]}"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/ready", timeout=2) as reply:
                if reply.status == 200:
                    return address
        except OSError:
            time.sleep(0.1)
    raise UserError(f"the server at {address} is not ready after {START_SECONDS} seconds.")


def _cpu(running: Running) -> float:
    if running.process is None:
        return 0.0
    times = running.process.cpu_times()
    return float(times.user + times.system)
