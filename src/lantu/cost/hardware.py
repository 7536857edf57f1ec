"""How busy the machine is: the share of processors and GPU that a run keeps busy, and the memory that it holds."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

GIB = 2**30


class HardwareUse:
    """Measures this process with its data workers, since the last look.

    Args:
        device: the GPU of this process, or another device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = time.monotonic()
        self._busy = processor_seconds(own_processes())

    def look(self) -> dict[str, float]:
        """Figures named as they are logged, in percent and GiB; a part that cannot be measured is left out."""
        family = own_processes()  # once: to find them, psutil reads the state of every process of the machine
        now, busy = time.monotonic(), processor_seconds(family)
        elapsed, spent = now - self._seconds, max(0.0, busy - self._busy)
        self._seconds, self._busy = now, busy
        found = {"system/memory_gib": _resident(family) / GIB}
        if elapsed > 0:
            found["system/cpu_percent"] = 100 * spent / elapsed / (os.cpu_count() or 1)
        if self._device.type == "cuda":
            found["system/gpu_memory_gib"] = torch.cuda.memory_reserved(self._device) / GIB
            with suppress(RuntimeError, OSError, ImportError):  # without NVML, or a driver that refuses
                found["system/gpu_percent"] = float(torch.cuda.utilization(self._device))
        return found


def own_processes() -> list[Any]:
    """This process and those that it started and that still run."""
    import psutil

    own = psutil.Process()
    try:
        return [own, *map(psutil.Process, _started_by(own.pid))]
    except (OSError, psutil.NoSuchProcess):  # no such files, or a process has just ended
        return [own, *own.children(recursive=True)]


def _started_by(process: int) -> list[int]:
    """The processes that one has started, and those that they have: psutil reads all of the machine to find them.

    Raises:
        OSError: the kernel does not list them, or the process has ended.
    """
    children = [
        int(child)
        for thread in os.listdir(f"/proc/{process}/task")
        for child in Path(f"/proc/{process}/task/{thread}/children").read_text().split()
    ]
    return children + [each for child in children for each in _started_by(child)]


def processor_seconds(family: list[Any]) -> float:
    """Of processes that still run; a worker that has ended takes its share along."""
    total = 0.0
    for each in family:
        times = _asked(each, "cpu_times")
        total += times.user + times.system if times else 0.0
    return total


def _resident(family: list[Any]) -> float:
    return float(sum(found.rss for each in family if (found := _asked(each, "memory_info"))))


def _asked(process: Any, what: str) -> Any:
    import psutil

    try:
        return getattr(process, what)()
    except psutil.Error:  # it has just ended
        return None
