"""Predict for a table that is larger than memory: some rows at a time, in several processes, and resumable."""

import json
import multiprocessing
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lantu.checkpoints.digest import digest_of
from lantu.data.table_chunks import ENDINGS, chunk_files, common_type, write_state
from lantu.errors import UserError
from lantu.inference.arguments import RAY, check_workers
from lantu.inference.table_parts import load, predict_part, summed
from lantu.notices import warn_once
from lantu.whole_files import new_folder, whole_file

STATE = "state.json"
OUTPUTS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Job:
    """What is predicted, and how."""

    checkpoint: Path
    input: Path
    output: Path
    rows: int
    """At once."""
    workers: int | str = 1
    """Processes of this machine, or `RAY`."""
    trainer: Any = None
    """A config that builds the trainer, of each process."""

    @property
    def folder(self) -> Path:
        """Where finished parts are kept until all are finished."""
        return self.output.with_name(f".{self.output.name}.parts")

    def identity(self) -> dict[str, Any]:
        """What must be the same for parts of an earlier call to be used."""
        status = self.input.stat()
        return {
            "input": str(self.input.resolve()), "bytes": status.st_size, "changed": status.st_mtime_ns,
            "weights": digest_of(self.checkpoint), "rows_at_once": self.rows,
        }  # fmt: skip


def check(job: Job) -> None:
    """Raise a `UserError` for what cannot be streamed."""
    check_workers(job.workers, job.rows)
    if job.rows < 1:
        raise UserError(f"`rows_at_once={job.rows}`: rows of a part, at least 1.")
    if not job.input.is_file() or job.input.suffix.lower() not in ENDINGS:
        raise UserError(f"`rows_at_once` is for tables ({', '.join(ENDINGS)}), and `input={job.input}` is none.")
    if job.output.suffix not in OUTPUTS:
        raise UserError(f"`output={job.output}`: with `rows_at_once` it ends in one of {', '.join(OUTPUTS)}.")
    if job.output.resolve() == job.input.resolve():
        raise UserError("`output` is the input itself: name another file.")


def run(job: Job) -> tuple[int, int]:
    """Predict and write the output; returns the number of rows, and of parts that an earlier call had finished.

    A call that was cut off is resumed by the same command: parts that are complete are not predicted again.
    """
    check(job)
    _prepare(job)
    try:
        return _run(job)
    except BaseException:
        if not _finished(job):  # nothing to resume from
            shutil.rmtree(job.folder, ignore_errors=True)
        raise


def _finished(job: Job) -> set[int]:
    """The numbers of the parts that are complete."""
    return {int(each.stem) for each in job.folder.glob("*.json") if each.stem.isdigit()}


def _run(job: Job) -> tuple[int, int]:
    done = _finished(job)
    if job.workers == RAY:
        from lantu.inference.on_ray import predict_on_ray

        predict_on_ray(job.checkpoint, job.input, job.folder, rows=job.rows, done=done, trainer=job.trainer)
    else:
        _predict_here(job, done)
    total = _merge(job)
    shutil.rmtree(job.folder)
    return total, len(done)


def _predict_here(job: Job, done: set[int]) -> None:
    """Predict for all chunks but those that are done, on this machine."""
    chunks = job.folder / "chunks"
    shutil.rmtree(chunks, ignore_errors=True)
    chunks.mkdir()
    todo = _pending(chunk_files(job.input, chunks, rows=job.rows), done)
    if job.workers == 1:
        load(job.checkpoint, job.trainer)
        for number, chunk in todo:
            predict_part(chunk, job.folder, number)
    else:
        _in_processes(job, todo, workers=int(job.workers))


def _pending(chunks: Iterator[Path], done: set[int]) -> Iterator[tuple[int, Path]]:
    for number, chunk in enumerate(chunks):
        if number in done:
            chunk.unlink()
        else:
            yield number, chunk


def _prepare(job: Job) -> None:
    """The folder of parts, of this very job."""
    state, now = job.folder / STATE, job.identity()
    if state.is_file():
        before = json.loads(state.read_text(encoding="utf-8"))
        if before != now:
            changed = ", ".join(name for name in now if before.get(name) != now[name])
            raise UserError(
                f"{job.folder} holds parts of an earlier call with another {changed}. Delete that folder to begin "
                "anew, or give the earlier call's options to resume it."
            )
        return
    with new_folder(job.folder):
        write_state(state, now)


def _in_processes(job: Job, todo: Iterator[tuple[int, Path]], *, workers: int) -> None:
    spawned = multiprocessing.get_context("spawn")  # a forked process would share torch's threads and locks
    with ProcessPoolExecutor(workers, spawned, load, (job.checkpoint, job.trainer)) as pool:
        under_way: deque[Future[None]] = deque()
        for number, chunk in todo:
            if len(under_way) > workers:  # so many chunks wait on disk, not the whole table
                under_way.popleft().result()
            under_way.append(pool.submit(predict_part, chunk, job.folder, number))
        for each in under_way:
            each.result()


def _merge(job: Job) -> int:
    """Write all parts into one file, with one type for each column."""
    import pyarrow as pa

    parts = sorted(each for each in job.folder.glob("*.parquet"))
    if not parts:
        raise UserError(f"`input={job.input}`: there is nothing in it to predict for.")
    states = [json.loads(each.with_suffix(".json").read_text(encoding="utf-8")) for each in parts]
    kinds = {
        name: common_type({each["types"][name] for each in states if name in each["types"]})
        for name in dict.fromkeys(name for each in states for name in each["types"])
    }
    tables = (pa.Table.from_pandas(_typed(pd.read_parquet(part), kinds), preserve_index=False) for part in parts)
    schema = _common(table.schema for table in tables).remove_metadata()
    with whole_file(job.output) as draft:
        _write_parts(parts, draft, kinds, schema)
    rows = sum(each["rows"] for each in states)
    for note in summed((note for each in states for note in each.get("notes", ())), rows=rows):
        warn_once(note)
    return rows


def _write_parts(parts: list[Path], draft: Path, kinds: dict[str, str], schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(draft, schema) if draft.suffix == ".parquet" else None
    for number, part in enumerate(parts):
        frame = _typed(pd.read_parquet(part), kinds)
        if writer is not None:
            writer.write_table(_cast(pa.Table.from_pandas(frame, preserve_index=False), schema))
        elif draft.suffix == ".csv":
            frame.to_csv(draft, mode="a", header=number == 0, index=False)
        else:
            frame.to_json(draft, orient="records", lines=True, force_ascii=False, mode="a")
    if writer is not None:
        writer.close()


def _typed(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    for name, kind in kinds.items():
        if kind != "text" and name in frame:
            numbers = pd.to_numeric(frame[name])
            frame[name] = numbers.astype("Int64" if kind == "integer" else "float64")
    return frame


def _common(schemas: Iterator[Any]) -> Any:
    """One schema: wider numbers where parts differ, texts where they cannot be one type otherwise."""
    import pyarrow as pa

    found = next(schemas).remove_metadata()
    for each in schemas:
        try:
            found = pa.unify_schemas([found, each.remove_metadata()], promote_options="permissive")
        except pa.ArrowTypeError:
            apart = {field.name for field in each if field.name in found.names}
            apart = {name for name in apart if not _unites(found.field(name), each.field(name))}
            found = pa.schema([pa.field(one.name, pa.string()) if one.name in apart else one for one in found])
            rest = pa.schema([one for one in each if one.name not in apart])
            found = pa.unify_schemas([found, rest], promote_options="permissive")
    return found


def _unites(one: Any, two: Any) -> bool:
    import pyarrow as pa

    try:
        pa.unify_schemas([pa.schema([one]), pa.schema([two])], promote_options="permissive")
    except pa.ArrowTypeError:
        return False
    return True


def _cast(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    missing = [each for each in schema if each.name not in table.column_names]
    for each in missing:
        table = table.append_column(each, pa.nulls(len(table), each.type))
    return table.select(schema.names).cast(schema)
