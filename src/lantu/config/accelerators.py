"""What a trainer asks of this machine, refused in a sentence before torch is imported: GPUs, driver, precision."""

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.errors import UserError

INSTEAD = "`trainer=cpu` trains on the processor, `trainer=auto` on the best that is there"
COMPUTE_CAPABILITY_MAJOR = 75  # CUdevice_attribute
FIRST_WITH_BF16 = 8  # Ampere
REFUSALS = {
    802: "the system is not ready, as when NVIDIA's fabric manager does not run",
    803: "the driver in the kernel and its library are of different versions, as after an update; a restart fixes that",
    804: "a library for forward compatibility is in front of the driver's own, and this GPU does not support that",
    999: "for a reason that it does not know; `nvidia-smi` may",
}
"""What CUDA's error numbers mean when an installed driver does not start."""


@dataclass(frozen=True)
class Gpus:
    """NVIDIA's driver and the GPUs that this process may use, as the driver itself tells."""

    generations: tuple[int, ...]
    """The major compute capability of each, such as 9 for an H100."""
    driver: tuple[int, int]
    """The newest CUDA that the driver runs; (0, 0) without a driver."""
    status: int = 0
    """What the driver answered to its start, one of CUDA's numbers for errors; 0: it started."""


def check_hardware(cfg: DictConfig) -> None:
    """Refuse a trainer that this machine cannot satisfy.

    Raises:
        UserError: naming what is missing and what to type instead.
    """
    trainer = OmegaConf.to_container(cfg.trainer)
    assert isinstance(trainer, dict)
    accelerator, precision = str(trainer.get("accelerator")), str(trainer.get("precision"))
    if accelerator in ("gpu", "cuda") and sys.platform == "linux" and not Path("/dev/kfd").exists():  # AMD's
        check_gpus(gpus(), wanted=trainer.get("devices"), precision=precision, built_for=torch_cuda())
    if accelerator == "cpu" and precision.startswith("16"):
        raise UserError(
            f"`trainer.precision={precision}`: a processor does not train at 16-bit floats. "
            f"`trainer.precision=bf16-mixed` does on those that have it, `trainer.precision=32-true` everywhere."
        )


def check_gpus(found: Gpus, *, wanted: Any, precision: str, built_for: str | None) -> None:
    """Refuse what the GPUs that were found cannot do.

    Args:
        wanted: `trainer.devices`: a number, a list of numbers, auto or -1 for all.
        precision: `trainer.precision`.
        built_for: the CUDA that torch was built for, such as 13.0; None: for none.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not found.generations:
        why = "no NVIDIA driver answers on this machine" if found.driver == (0, 0) else "this machine shows none"
        if found.status in REFUSALS:
            why = f"its driver does not start (CUDA error {found.status}): {REFUSALS[found.status]}"
        elif hidden is not None and found.driver != (0, 0):
            why = f"CUDA_VISIBLE_DEVICES={hidden!r} hides them"
        raise UserError(f"the trainer asks for a GPU, and {why}. {INSTEAD}.")
    if built_for is None:
        raise UserError(
            f"the trainer asks for a GPU, and the torch that is installed was built for processors only. Install one "
            f"for CUDA {found.driver[0]} (https://pytorch.org/get-started); until then {INSTEAD}."
        )
    if int(built_for.split(".")[0]) > found.driver[0]:
        raise UserError(
            f"torch was built for CUDA {built_for}, and this machine's NVIDIA driver runs CUDA up to "
            f"{found.driver[0]}.{found.driver[1]}. Update the driver, or install a torch for CUDA {found.driver[0]} "
            f"(https://pytorch.org/get-started); until then `trainer=cpu` trains on the processor."
        )
    count = max(wanted, default=-1) + 1 if isinstance(wanted, list) else _whole(wanted)
    if count > len(found.generations):
        there = f"{len(found.generations)} GPU" + ("s" if len(found.generations) > 1 else "")
        raise UserError(
            f"`trainer.devices={wanted}` needs {count} GPUs, and this machine shows {there}. "
            f"`trainer.devices=auto` takes all that are there."
        )
    if precision.startswith("bf16") and min(found.generations) < FIRST_WITH_BF16:
        raise UserError(
            f"`trainer.precision={precision}`: this GPU has no bf16 arithmetic (NVIDIA's have it from Ampere on). "
            f"`trainer.precision=16-mixed` is as fast, with its losses scaled; `32-true` needs nothing."
        )


def gpus() -> Gpus:
    """Ask the driver itself, which takes milliseconds; torch takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Gpus((), (0, 0))
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    runs = (version.value // 1000, version.value % 1000 // 10)
    if (status := driver.cuInit(0)) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return Gpus((), runs, status)
    generations = []
    for number in range(count.value):
        major = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(major), COMPUTE_CAPABILITY_MAJOR, number)
        generations.append(major.value)
    return Gpus(tuple(generations), runs)


def look_for_gpus_quickly() -> None:
    """Without an NVIDIA driver, undo a setting of Lightning's with which every step of Adam looks for one again.

    It makes torch ask NVIDIA's management library, which spares CUDA for workers that are forked, but takes 0.1 ms.
    """
    if gpus().driver == (0, 0):
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def torch_cuda() -> str | None:
    """The CUDA that the installed torch was built for, read without importing it; None: for none."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text()
    found = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def _whole(wanted: Any) -> int:
    """How many devices a number asks for; auto and -1 ask for what there is."""
    try:
        return max(int(wanted), 1)
    except (TypeError, ValueError):
        return 1
