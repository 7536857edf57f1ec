"""`lantu doctor`: versions, devices, and what is missing, each with what to type to get it."""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantu.cli.common_options import add_json_option
from lantu.config.locations import shipped_conf, user_confs
from lantu.redaction import redact

if TYPE_CHECKING:  # imported where they are used: what is reported missing may be one of them
    from packaging.requirements import Requirement

State = Literal["ok", "missing", "broken", "note"]
CHECKED = {
    "torch": "import torch; torch.ones(2).sum().item()",
    "pytorch_lightning": "import lantu, pytorch_lightning",
    "mlflow": "import mlflow",
}
"""What has to be importable: each is tried in a process of its own, since a broken library may end the process."""
PROGRAMS = {
    "g++": ("compile=true", "apt install g++"),
    "git": ("the revision of your code in each run", "apt install git"),
    "sbatch": ("hydra/launcher=slurm_cpu and slurm_gpu", "run on a machine of the cluster"),
}
IMPORT_SECONDS = 120


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    state: State
    text: str
    instead: str = ""
    """What to type to get it."""


def doctor_main(arguments: list[str]) -> int:
    """`lantu doctor [--fast]`; exit status 1 where something that every run needs is missing or broken."""
    parser = argparse.ArgumentParser("lantu doctor", description="Print versions, devices, and what is missing.")
    parser.add_argument("--fast", action="store_true", help="do not try to import the libraries")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    tried = {} if options.fast else {name: _start(program) for name, program in CHECKED.items()}
    findings = [each for part in (system, packages, extras, devices, programs, places) for each in _found_by(part)]
    findings += [_imported(name, process) for name, process in tried.items()]
    if options.json:
        print(json.dumps([asdict(each) for each in findings], indent=1, ensure_ascii=False))
    else:
        _show(findings)
    return 1 if any(each.state in ("missing", "broken") and each.topic != "extra" for each in findings) else 0


def system() -> Iterator[Finding]:
    """Lantu, Python and the machine."""
    yield Finding("lantu", "ok", f"{_version('lantu') or 'not installed as a package'} in {Path(__file__).parents[1]}")
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    yield Finding("machine", "ok", f"{platform.platform()}, {os.cpu_count()} CPUs, {memory:.0f} GiB")


def packages() -> Iterator[Finding]:
    """The packages that every run needs, against the versions that Lantu asks for."""
    for need in _requirements():
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield _against(need, "package", f"pip install '{need.name}{need.specifier}'")


def extras() -> Iterator[Finding]:
    """The optional families: which are whole, and how to get the others."""
    for extra in sorted(set(_metadata_of("Provides-Extra"))):
        needs = [each for each in _requirements() if each.marker and each.marker.evaluate({"extra": extra})]
        needs = [each for each in needs if not each.marker.evaluate({"extra": ""}) and each.name != "lantu"]  # type: ignore[union-attr]
        if extra in ("all", "dev") or not needs:
            continue
        lacking = [found.text for each in needs if (found := _against(each, "extra", "")).state != "ok"]
        found_text = ", ".join(lacking) or ", ".join(f"{each.name} {_version(each.name)}" for each in needs)
        instead = f"pip install 'lantu[{extra}]'" if lacking else ""
        yield Finding("extra", "missing" if lacking else "ok", f"{extra}: {found_text}", instead)


def devices() -> Iterator[Finding]:
    """GPUs as NVIDIA's driver tells, without torch."""
    try:
        from lantu.config.accelerators import REFUSALS, gpus

        found = gpus()
    except Exception as error:  # a package is missing, or a driver library is of another kind
        yield Finding("gpu", "note", f"NVIDIA's driver cannot be asked: {_first_line(str(error))}")
        return
    if found.generations:
        yield Finding("gpu", "ok", f"{len(found.generations)}, driver for CUDA {found.driver[0]}.{found.driver[1]}")
    elif found.driver == (0, 0):
        yield Finding("gpu", "note", "none: no NVIDIA driver; runs use the CPU")
    else:
        yield Finding("gpu", "broken", f"the driver does not start: {REFUSALS.get(found.status, found.status)}")


def programs() -> Iterator[Finding]:
    """Programs that some options need."""
    for name, (needed_by, instead) in PROGRAMS.items():
        path = shutil.which(name)
        if path:
            yield Finding("program", "ok", f"{name} in {path}")
        else:
            yield Finding("program", "note", f"{name} is not installed; needed by {needed_by}", instead)


def places() -> Iterator[Finding]:
    """Where configs are read and runs are written."""
    yield Finding("configs", "ok", ", ".join(str(each) for each in [*user_confs(), shipped_conf()]))
    home = Path(os.environ.get("LANTU_HOME", ".")).expanduser().absolute()
    there = next(each for each in (home, *home.parents) if os.path.exists(each))
    if not os.access(there, os.W_OK):
        yield Finding(
            "runs", "broken", f"{home / 'mlruns'} cannot be written", "LANTU_HOME=FOLDER or paths.root=FOLDER"
        )
    else:
        free = shutil.disk_usage(there).free / 2**30
        state: State = "ok" if free > 1 else "note"
        yield Finding("runs", state, f"{home / 'mlruns'}, {free:.1f} GiB free")
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        yield Finding("tracking", "ok", redact(uri))


def _found_by(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from part()
    except ImportError as error:
        yield Finding("package", "missing", f"{error.name} cannot be imported", f"pip install {error.name}")


def _requirements() -> "list[Requirement]":
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for text in _metadata_of("Requires-Dist"):
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            continue
    return found


def _metadata_of(field: str) -> list[str]:
    try:
        return metadata.metadata("lantu").get_all(field) or []
    except metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _against(need: "Requirement", topic: str, instead: str) -> Finding:
    version = _version(need.name)
    if version is None:
        return Finding(topic, "missing", f"{need.name} is not installed", instead)
    if not need.specifier.contains(version, prereleases=True):
        return Finding(topic, "missing", f"{need.name} {version} is not {need.specifier}", instead)
    return Finding(topic, "ok", f"{need.name} {version}")


def _start(program: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _imported(name: str, process: "subprocess.Popen[str]") -> Finding:
    try:
        _, errors = process.communicate(timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Finding("import", "broken", f"{name} is not imported within {IMPORT_SECONDS} s")
    if process.returncode == 0:
        return Finding("import", "ok", name)
    why = f"ended by signal {-process.returncode}" if process.returncode < 0 else _first_line(errors, last=True)
    return Finding("import", "broken", f"{name} cannot be imported: {why}", f"pip install --force-reinstall {name}")


def _first_line(text: str, *, last: bool = False) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"\s+", " ", redact((lines[-1] if last else lines[0]) if lines else "no reason given"))


def _show(findings: list[Finding]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        for each in findings:
            print(each.topic, each.state, each.text, each.instead, sep="  ")
        return

    colors = {"ok": "green", "missing": "yellow", "broken": "red", "note": "dim"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    whole = [each.text for each in findings if each.topic == "package" and each.state == "ok"]
    for each in findings:
        if each.topic == "package" and each.state == "ok":
            continue
        text = Text(each.text)
        if each.instead:
            text.append(f"\n  {each.instead}", style="cyan")
        table.add_row(each.topic, Text(each.state, style=colors[each.state]), text)
    if whole:
        table.add_row("packages", Text("ok", style="green"), Text(", ".join(whole)))
    Console().print(table)
