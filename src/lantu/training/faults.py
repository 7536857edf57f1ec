"""Explain what stopped a run in a sentence that says what to type next; the run's folder has the traceback."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytorch_lightning import Trainer

from lantu.cost.work import peak_memory_gib
from lantu.data import DataModule
from lantu.errors import Fault, UserError, is_full_disk, is_full_shared_memory
from lantu.loggers import log_tags
from lantu.redaction import redact
from lantu.training.rank_progress import RankProgress

TRACEBACK = "error.txt"
"""The file in the run's folder with the whole traceback."""
TAG = "lantu.failure"
"""The MLflow tag that says why a run failed."""
_TIMED_OUT = re.compile(
    r"gloo.*Timed out waiting|Application timeout caused pair closure|collective operation timeout|wait timeout after|"
    r"Timed out after .* waiting for clients",
    re.DOTALL,
)
"""The messages of gloo, NCCL and torch's store when a rank has waited too long for another."""
SAFE_SHARE = 2
"""By how much a batch that did not fit is divided: half of it needs about half of the memory beside the weights."""


@contextmanager
def readable_failures(trainer: Trainer, data: DataModule, folder: Path) -> Iterator[None]:
    """Turn an exception that stops a run into a `Fault` where its cause is known, and re-raise any other.

    The reason becomes a tag of the run, and the traceback a file, in both cases.

    Raises:
        Fault: memory ran out, or a process that prepares batches died.
    """
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, UserError) else _known_fault(error, trainer, data, folder)
        _record(known or error, trace="".join(traceback.format_exception(error)), trainer=trainer, folder=folder)
        if known is None or known is error:
            raise
        raise known from error


def failure_message(error: BaseException, folder: Path) -> str:
    """An exception in a sentence for the terminal, with the file that has its traceback if there is one."""
    if isinstance(error, UserError):
        return str(error)
    if is_full_disk(error):
        return f"the disk that holds {folder} is full, or your share of it. {how_to_resume(folder)}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    message = f"{type(error).__name__}: {first}".rstrip(": ")
    kept = folder / TRACEBACK
    return f"the run failed with {redact(message)[:500]}" + (f" (the traceback is in {kept})" if kept.is_file() else "")


def how_to_resume(folder: Path) -> str:
    """The sentence that says how to resume a run that was stopped."""
    if list((folder / "checkpoints").glob("*.ckpt")):
        return f"The same command with `resume={folder}` continues from its newest checkpoint."
    return "No checkpoint was kept before."


def _known_fault(error: Exception, trainer: Trainer, data: DataModule, folder: Path) -> Fault | None:
    message = str(error)
    if _is_out_of_memory(error):
        return Fault(_out_of_memory(message, trainer, data))
    if cuda := _cuda_advice(message):
        return Fault(cuda)
    if is_full_shared_memory(message):
        return Fault(
            f"/dev/shm has no room for a batch of the {data._workers()} processes that prepare them, at step "
            f"{trainer.global_step}. In a container `docker run --shm-size=8g` makes it larger; `data.workers=0` "
            "prepares batches without any."
        )
    if is_full_disk(error):
        return Fault(f"the disk that holds {folder} is full, or your share of it. {how_to_resume(folder)}")
    # torch says that a worker exited, and only in the cause that a signal ended it
    dead = re.search(
        r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: (\w+)|exited)",
        f"{error.__cause__}\n{message}",
    )
    if dead:
        how = f"was ended by the signal {dead.group(3)}" if dead.group(3) else "ended by itself"
        workers = data._workers()
        return Fault(
            f"process {dead.group(1)}, one of {workers} that prepare batches, {how} at step {trainer.global_step}. "
            f"Linux kills in this way when memory runs out, and containers when /dev/shm is small "
            f"(`docker run --shm-size=8g`). Fewer processes need less: `data.workers={workers // 2}`; "
            f"`data.workers=0` prepares batches without any."
        )
    if trainer.world_size > 1 and _TIMED_OUT.search(message):
        late = next(
            (each.who_is_late(trainer) for each in trainer.callbacks if isinstance(each, RankProgress)), message
        )
        return Fault(
            f"{late} `trainer.strategy.timeout` says how long they wait; `data.workers=0` and a look at the machine's "
            f"memory help to find out why. {how_to_resume(folder)}"
        )
    if trainer.world_size > 1 and re.search(
        r"gloo.*Connection (closed|reset) by peer|NCCL.*remote process", message, re.S
    ):
        return Fault(
            f"another rank of this run has ended, at step {trainer.global_step} of rank {trainer.global_rank}: the "
            f"connection to it is closed. {how_to_resume(folder)}"
        )
    return None


def _cuda_advice(message: str) -> str | None:
    """What to do where torch was built for other GPUs or drivers than this machine's; None if that is not the cause."""
    import torch

    instead = "(https://pytorch.org/get-started); until then `trainer=cpu` trains on the processor."
    if "no kernel image is available" in message or "not compatible with the current PyTorch installation" in message:
        has = ", ".join(torch.cuda.get_arch_list()) or "none for GPUs"
        return f"torch {torch.__version__} has no code for this GPU (it has {has}). Install one that does {instead}"
    older = r"driver.*(is too old|is insufficient)|unsupported toolchain|forward compatibility was attempted"
    if re.search(older, message, re.IGNORECASE | re.DOTALL):
        return (
            f"this machine's NVIDIA driver is older than torch, which was built for CUDA {torch.version.cuda}. Update "
            f"the driver, or install a torch for an older CUDA {instead}"
        )
    return None


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    message = str(error)
    signs = ("can't allocate memory", "bad_alloc", "out of memory", "Cannot allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(sign in message for sign in signs)
    )


def _out_of_memory(message: str, trainer: Trainer, data: DataModule) -> str:
    wanted = _bytes_wanted(message)
    more = f"{wanted / 2**30:.2f} GiB more were asked for, " if wanted else ""
    held = peak_memory_gib(trainer.strategy.root_device)
    ranks, parts = trainer.world_size, trainer.accumulate_grad_batches
    batch = data.batch_size // ranks  # the share of each
    what = f"memory ran out at step {trainer.global_step}: {more}and at most {held:.2f} GiB were in use."
    fits = largest_that_fits(batch, wanted=wanted, held=held * 2**30)
    if fits == batch:
        return (
            f"{what} One example at a time is too much already: take a smaller model, `trainer.precision=bf16-mixed`, "
            f"or a shorter `data.context` or smaller `data.size` where the data have one."
        )
    return (
        f"{what} A batch of {fits * ranks} instead of {batch * ranks} is likely to fit; with the same effective batch: "
        f"`data.batch_size={fits * ranks} trainer.accumulate_grad_batches={parts * batch // fits}`."
    )


def largest_that_fits(batch: int, *, wanted: int, held: float) -> int:
    """The largest divisor of a batch that is likely to fit where `held` bytes did and `wanted` more did not.

    The allocation that failed grows with the batch. Half the batch is suggested; less where that allocation alone is
    larger than half of what was in use.
    """
    limit = batch / SAFE_SHARE
    if wanted > held / 2:
        limit = min(limit, batch * held / (2 * wanted))
    return next((n for n in range(int(limit), 0, -1) if batch % n == 0), 1)


def _bytes_wanted(message: str) -> int:
    """The size of the allocation that failed; 0 where the message does not say."""
    if exact := re.search(r"tried to allocate (\d+) bytes", message):
        return int(exact.group(1))
    rounded = re.search(r"(?:Tried|Unable) to allocate ([\d.]+) (KiB|MiB|GiB|TiB)", message)
    unit = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    return int(float(rounded.group(1)) * unit[rounded.group(2)]) if rounded else 0


def _record(error: BaseException, *, trace: str, trainer: Trainer, folder: Path) -> None:
    name = TRACEBACK if trainer.is_global_zero else f"rank{trainer.global_rank}.{TRACEBACK}"
    with suppress(OSError):  # a full disk must not hide why the run failed
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(redact(trace), encoding="utf-8")
    log_tags(trainer, {TAG: failure_message(error, Path())})
