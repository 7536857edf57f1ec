"""Provenance of a run: code, packages, machine, command."""

import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

DIFF_LIMIT = 1_000_000  # maximum characters of an uncommitted diff


def tags() -> dict[str, str]:
    """Return the revision, command line, host and Python version, under MLflow's tag names where they exist."""
    found = {
        "mlflow.source.name": shlex.join(sys.orig_argv),
        "mlflow.source.type": "LOCAL",
        "lantu.host": socket.gethostname(),
        "lantu.platform": platform.platform(),
        "lantu.python": platform.python_version(),
    }
    if revision := _git("rev-parse", "HEAD", "--abbrev-ref", "HEAD"):
        found["mlflow.source.git.commit"], found["mlflow.source.git.branch"] = revision.split("\n")
        found["lantu.git.dirty"] = str(bool(_git("status", "--porcelain"))).lower()
    return found


def devices() -> dict[str, str]:
    """Return the accelerator, or the CPU, that torch uses."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return {"lantu.device": ", ".join(names)}
    return {"lantu.device": f"{_processor()} ({torch.get_num_threads()} threads)"}


def diff() -> str:
    """Return the diff of uncommitted changes to tracked files; empty without changes or outside a git repository."""
    return _git("diff", "HEAD")[:DIFF_LIMIT]


@cache  # installed packages do not change during a process
def packages() -> str:
    """Return all installed distributions in requirements format, one a line."""
    found = dict(filter(None, map(_name_and_version, distributions())))
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items(), key=lambda item: item[0].lower()))


def _name_and_version(package: Distribution) -> tuple[str, str] | None:
    """Read from the head of the metadata, in a twentieth of the time of parsing all; None where they are not there."""
    head = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
    found = [re.search(rf"^{field}: *(\S+)", head, re.MULTILINE) for field in ("Name", "Version")]
    return (found[0][1], found[1][1]) if found[0] and found[1] else None


def _git(*arguments: str) -> str:
    here = Path.cwd()
    if "GIT_DIR" not in os.environ and not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return ""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
