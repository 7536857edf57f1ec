"""Start, watch and end the ranks of a distributed run on one machine.

Lightning would start the other ranks by repeating the command line. Under Hydra each of them creates its own output
folder, and in a sweep each runs the whole sweep. Lightning also kills the main process when a rank crashes, and leaves
environment variables behind that prevent the next trial of a sweep from starting ranks. So here every rank, including
zero, is a child process. It reads the composed config from a folder; the parent process survives any crash of a rank.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from lantu.config.build import build
from lantu.config.composing import Composition
from lantu.errors import Fault, UserError
from lantu.interrupts import raise_if_asked
from lantu.training.distributed import torchrun
from lantu.training.faults import how_to_resume
from lantu.training.rank_progress import who_is_late

VARIABLE = "LANTU_RANK_OF"
COMPOSITION = "composition.json"
GRACE_SECONDS = 20.0
"""How long the other ranks may take to close their records and exit after one has failed."""
LOOK_SECONDS = 0.1


def to_start(cfg: DictConfig) -> int:
    """Return the number of processes to start for a run; 0 if this process trains itself or a launcher started all.

    Raises:
        UserError: the trainer's number of processes differs from torchrun's, or no one started its other machines.
    """
    if not torchrun.is_there() and is_alone(cfg):
        return 0
    trainer = build(cfg.trainer, logger=False)
    if torchrun.is_there():
        torchrun.check(devices=trainer.num_devices, nodes=trainer.num_nodes)
        return 0
    launcher = trainer.strategy.launcher
    by_lightning = isinstance(launcher, _SubprocessScriptLauncher)
    if not by_lightning or launcher.cluster_environment.creates_processes_externally:
        return 0
    if trainer.num_nodes > 1:
        raise UserError(
            f"`trainer.num_nodes={trainer.num_nodes}`: this run was not started on the other machines. "
            f"`torchrun --nnodes={trainer.num_nodes} --nproc-per-node={trainer.num_devices} ... scripts/train.py ...` "
            f"does, typed on each of them; or `-m hydra/launcher=slurm_nodes`."
        )
    return int(trainer.num_devices)


def is_alone(cfg: DictConfig) -> bool:
    """Return whether one process trains, without building a trainer."""
    return (cfg.trainer.devices, cfg.trainer.num_nodes, cfg.trainer.strategy) == (1, 1, "auto")


def run_in_processes(composition: Composition, *, count: int) -> dict[str, Any]:
    """Train in `count` processes on this machine; return rank zero's report of its `Result`.

    Raises:
        UserError: the error of a rank.
        Fault: a rank was killed. The others are ended too, after `GRACE_SECONDS` at the latest.
    """
    with tempfile.TemporaryDirectory(prefix="lantu-ranks-") as place:
        folder = Path(place)
        (folder / COMPOSITION).write_text(json.dumps(torchrun.as_content(composition), default=str))
        failed = _watched(_started(folder, count), folder)
        if failed is None:
            report: dict[str, Any] = json.loads((folder / "0.json").read_text())
            return report
        rank, process = failed
        raise _trouble(folder, rank, process, count=count, run_dir=Path(composition.cfg.paths.run))


def _report(folder: Path, rank: int) -> dict[str, Any]:
    """Return the report of a rank; empty if it exited without one."""
    report_file = folder / f"{rank}.json"
    return json.loads(report_file.read_text()) if report_file.is_file() else {}


def _started(folder: Path, count: int) -> list["subprocess.Popen[bytes]"]:
    shared = {
        **os.environ,
        VARIABLE: str(folder),
        "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "lantu", "train"],
            env={**shared, "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,  # closes when this process exits, for whatever reason
            process_group=0,  # so that this process forwards Ctrl-C, once
        )
        for rank in range(count)
    ]


def _watched(processes: list["subprocess.Popen[bytes]"], folder: Path) -> tuple[int, "subprocess.Popen[bytes]"] | None:
    """Wait for all processes; return the first that failed, if any."""
    first: tuple[int, subprocess.Popen[bytes]] | None = None
    deadline = float("inf")
    try:
        while True:
            ended = [(rank, each) for rank, each in enumerate(processes) if each.poll() is not None]
            failed = [(rank, each) for rank, each in ended if _has_failed(folder, rank, each)]
            if failed and first is None:
                # if two ended since the last check, the killed one (negative return code) is the cause
                first = min(failed, key=lambda each: each[1].returncode)
                deadline = time.monotonic() + GRACE_SECONDS
            if len(ended) == len(processes) or time.monotonic() >= deadline:
                return first
            raise_if_asked()
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        for each in processes:
            each.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(each.poll() is None for each in processes) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        sys.exit(130)  # as Lightning does when it trains in this process
    finally:
        for each in processes:
            each.kill()
            each.wait()
            assert each.stdin is not None
            each.stdin.close()


def _has_failed(folder: Path, rank: int, process: "subprocess.Popen[bytes]") -> bool:
    """Return whether a rank failed. A crash after it has reported success does not count.

    Gloo and Python may abort during shutdown, when other ranks have exited before.
    """
    report = _report(folder, rank)
    return bool(process.returncode) and (not report or "error" in report)


def _trouble(folder: Path, rank: int, process: "subprocess.Popen[bytes]", *, count: int, run_dir: Path) -> UserError:
    who = f"rank {rank} of {count} (process {process.pid})"
    report = _report(folder, rank)
    if "error" in report:
        return Fault(report["error"]) if report["status"] == Fault.status else UserError(report["error"])
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        cause = ""
        if name == "SIGKILL":
            cause = " Linux kills in this way when memory runs out."
        elif name == "SIGABRT" and (folder / COMPOSITION).is_file():
            late = who_is_late(run_dir, ranks=count, begun=(folder / COMPOSITION).stat().st_mtime)
            cause = f" NCCL ends a rank in this way when it has waited too long: {late}"
        return Fault(
            f"{who} was ended by the signal {name}, and the others cannot go on without it.{cause} "
            f"{how_to_resume(run_dir)}"
        )
    return Fault(f"{who} ended with status {process.returncode} and said nothing more. {how_to_resume(run_dir)}")
