"""Predict for a table on a Ray cluster: Ray Data takes its parts to the workers, and their answers back.

The table is read and the answers are written by the machine that runs the command, so the others need no folder in
common with it. They need Lantu, of the same version.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lantu.data.table_chunks import chunk_files
from lantu.errors import UserError
from lantu.inference.exported import FILES, PREPARATION
from lantu.inference.table_parts import load, predict_part
from lantu.notices import warn_once
from lantu.ray_cluster import connect, disconnect

MOST_RESTARTS = 3
"""Of a worker that dies, and tries of a part: Ray itself would go on without end."""
Rows = dict[str, Any]
"""A batch of one part: its number, the name and content of its file, what the worker said, and why it failed."""


def predict_on_ray(
    checkpoint: Path, table: Path, folder: Path, *, rows: int, done: set[int], trainer: dict[str, Any]
) -> None:
    """Predict for the parts of a table that are not done, and write each into a folder when it arrives.

    Args:
        checkpoint: of the model; it is sent to the workers.
        folder: where parts are kept, `000000.parquet` with `000000.json` each.
        rows: of a part.
        done: numbers of parts that an earlier call has finished.
        trainer: a config that builds the trainer, of each worker.

    Raises:
        UserError: there is no such cluster, or the table cannot be read; parts that arrived before are kept.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it reports as errors what Ray Data always does
    ours = connect(os.environ.get("RAY_ADDRESS"), {}, option="RAY_ADDRESS")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray 2.60 wants placement and retries by names that older ones lack
            parts = _dataset(checkpoint, table, rows=rows, done=done, trainer=trainer)
        for part in parts.iter_rows():
            _keep(part, folder)
    finally:
        if ours:
            disconnect()


def _dataset(checkpoint: Path, table: Path, *, rows: int, done: set[int], trainer: dict[str, Any]) -> Dataset:
    """Parts with their answers, each computed when a worker is free."""
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1  # a part is a block of its own, sent on as soon as it is read
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    parts = ray.data.from_items([{"table": str(table.resolve()), "rows": rows, "done": sorted(done)}]).map_batches(
        _cut, batch_size=None, num_cpus=0, scheduling_strategy=here, max_retries=0
    )
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return parts.map_batches(
        _Predictor,
        batch_size=1,
        num_cpus=1,
        compute=ActorPoolStrategy(min_size=1, max_size=workers),
        fn_constructor_args=(ray.put(_files_of(checkpoint)), checkpoint.name, trainer),
        max_restarts=MOST_RESTARTS,
        max_task_retries=MOST_RESTARTS,
    )


def _files_of(checkpoint: Path) -> dict[str, bytes]:
    """A checkpoint, or an export with the network beside its preparation."""
    beside = [checkpoint.with_name(name) for name in FILES.values()] if checkpoint.name == PREPARATION else []
    return {each.name: each.read_bytes() for each in (checkpoint, *beside) if each.is_file()}


def _cut(batch: Rows) -> Iterator[Rows]:
    """The parts of a table that are not done, with their rows."""
    said, done = StringIO(), {int(each) for each in batch["done"][0]}
    with TemporaryDirectory() as name, redirect_stderr(said):
        try:
            parts = chunk_files(Path(str(batch["table"][0])), Path(name), rows=int(batch["rows"][0]))
            for number, chunk in enumerate(parts):
                if number not in done:
                    yield _part(number, chunk.name, chunk.read_bytes(), said=said.getvalue())
                chunk.unlink()
        except UserError as error:
            yield _part(-1, said=said.getvalue(), error=str(error))


class _Predictor:
    """A worker's model."""

    def __init__(self, files: Any, checkpoint: str, trainer: dict[str, Any]) -> None:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        for name, content in ray.get(files).items():
            (folder / name).write_bytes(content)
        load(folder / checkpoint, trainer)

    def __call__(self, batch: Rows) -> Rows:
        """The answers to a part: the content of its Parquet file, with `state`, the content of its JSON file."""
        number, said = int(batch["number"][0]), StringIO(str(batch["said"][0]))
        said.seek(0, os.SEEK_END)
        if batch["error"][0]:
            return {**batch, "state": np.array(["{}"])}
        with TemporaryDirectory() as name, redirect_stderr(said):
            folder = Path(name)
            chunk = folder / f"rows-{batch['name'][0]}"
            chunk.write_bytes(batch["content"][0])
            try:
                predict_part(chunk, folder, number)
            except UserError as error:
                return {**_part(-1, said=said.getvalue(), error=str(error)), "state": np.array(["{}"])}
            state = (folder / f"{number:06d}.json").read_text(encoding="utf-8")
            answers = (folder / f"{number:06d}.parquet").read_bytes()
        return {**_part(number, content=answers, said=said.getvalue()), "state": np.array([state])}


def _part(number: int, name: str = "", content: bytes = b"", *, said: str = "", error: str = "") -> Rows:
    return {
        "number": np.array([number]), "name": np.array([name]), "content": np.array([content], dtype=object),
        "said": np.array([said]), "error": np.array([error]),
    }  # fmt: skip


def _keep(part: Rows, folder: Path) -> None:
    """Write the answers to a part, and print what was said of its rows."""
    for line in str(part["said"]).splitlines():
        if line.startswith("lantu: "):
            warn_once(line.removeprefix("lantu: "))
    if part["error"]:
        raise UserError(str(part["error"]))
    path = folder / f"{int(part['number']):06d}.parquet"
    draft = path.with_suffix(".part")
    draft.write_bytes(part["content"])
    draft.replace(path)
    state = path.with_suffix(".tmp")
    state.write_text(part["state"], encoding="utf-8")
    state.replace(path.with_suffix(".json"))
