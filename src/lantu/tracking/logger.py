"""The Lightning logger that writes to a local journal, and leaves MLflow to a process beside the training."""

import atexit
import json
import os
import sys
import threading
import time
import uuid
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from lantu.tracking import journal
from lantu.tracking.deferred import Arrivals, hand_over_tensors
from lantu.tracking.folder import RunFolder, store_of
from lantu.tracking.journal import Journal
from lantu.tracking.owner import HEARTBEAT_SECONDS
from lantu.tracking.parameters import LONGEST_PARAM, LONGEST_TAG, as_text, flatten, shorten
from lantu.tracking.redaction import redact, redact_tree, redact_value
from lantu.tracking.saying import say
from lantu.tracking.shipper import Shipper, sync_in_background
from lantu.tracking.store import absolute, embedded_uri

PATIENCE_SECONDS = 10.0  # how long the end of a run waits for a shipper that gets nowhere
LONGEST_PATIENCE_SECONDS = 30.0  # and for one that does


class RunLogger(Logger):
    """Keeps a run's metrics, parameters, tags, inputs and artifacts, whatever MLflow is doing.

    A call appends to `<run_dir>/journal` and returns within tens of microseconds; a number is acknowledged,
    which is to say it survives SIGKILL, when the call returns, and survives the machine `fsync_seconds`
    later. A tensor on an accelerator is copied without waiting for it and is acknowledged within
    `fsync_seconds`. Another process ships the journal to MLflow; without a server everything waits for `lantu
    sync`.

    Nothing is written before the first record. Only rank zero writes. Opening a folder that has a journal
    continues its run, in the same MLflow run.

    Args:
        run_dir: the run's folder; may exist.
        tracking_uri: an MLflow server or database; None: the embedded store around `run_dir`, or in `store`.
        experiment: the MLflow experiment, created when it is missing.
        run_name: how MLflow's UI shows the run.
        tags: MLflow tags to start with.
        store: the folder with mlflow.db; None: the parent of the folder named `runs` that `run_dir` lies in.
        run_id: an existing MLflow run to continue; None: one of our own.
        parent: the run that this one belongs to, as its logger's `as_parent` describes it.
        fsync_seconds: what losing the machine may lose.
        ship: start a shipper; without one `lantu sync` ships.

    Raises:
        UserError: at the first record, when `run_dir` cannot be written.
    """

    takes_tensors = True

    def __init__(
        self,
        *,
        run_dir: Path | str,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        store: Path | str | None = None,
        run_id: str | None = None,
        parent: Mapping[str, Any] | None = None,
        fsync_seconds: float = 1.0,
        ship: bool = True,
    ) -> None:
        super().__init__()
        if fsync_seconds <= 0:
            raise ValueError(f"`fsync_seconds` is a time above zero, not {fsync_seconds}")
        self._folder = RunFolder(Path(run_dir).absolute())
        self._experiment = experiment or "Default"
        self._run_name = run_name or self._folder.run_dir.name
        self._first_tags = dict(tags or {})
        self._store = Path(store).absolute() if store else store_of(self._folder.run_dir)
        self._tracking_uri = tracking_uri
        self._continued = run_id
        self._parent = dict(parent) if parent else None
        self._fsync_seconds = fsync_seconds
        self._ships = ship
        self._uid: str | None = None
        self._step = 0
        self._recorded: dict[str, int] = {}
        self._failure: str | None = None
        self._ended = False
        self._reset()

    def _reset(self) -> None:
        self._journal: Journal | None = None
        self._shipper: Shipper | None = None
        self._arrivals = Arrivals()
        self._opening = threading.RLock()
        self._stop = threading.Event()
        self._pid = 0

    # What Lightning asks for

    @property
    def name(self) -> str:
        """The MLflow experiment."""
        return self._experiment

    @property
    def version(self) -> str:
        """The run's folder name, which is also its default name."""
        return self._folder.run_dir.name

    @property
    def save_dir(self) -> str:
        """The run's folder: checkpoints go below it."""
        return str(self._folder.run_dir)

    @property
    def root_dir(self) -> str:
        return self.save_dir

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    def run_dir(self) -> Path:
        """The run's folder, absolute."""
        return self._folder.run_dir

    @property
    def tracking_uri(self) -> str:
        """Where the run is shipped to, with the credentials in it, if any."""
        return absolute(self._tracking_uri) if self._tracking_uri else embedded_uri(self._store)

    @property
    def uid(self) -> str | None:
        """Lantu's own name for the run, also before any server knows it; the MLflow tag `lantu.run`."""
        return self._uid

    def as_parent(self) -> dict[str, Any]:
        """What the loggers of this run's children need to know of it."""
        self._open()
        begin = self._folder.head()
        assert begin is not None
        return {key: begin[key] for key in ("run", "experiment", "name", "t")}

    @property
    def run_id(self) -> str | None:
        """The MLflow run; None while no server has been reached."""
        return self._continued or self._folder.shipped().run_id

    def wait_for_run_id(self, seconds: float) -> str | None:
        """The MLflow run, waiting for the shipper to create it if need be; None when that takes longer."""
        deadline = time.monotonic() + seconds
        while (found := self.run_id) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers at a step; None: the step of the last call."""
        if not _is_rank_zero():
            return
        step = self._step if step is None else step
        self._step = step
        if self._recorded:
            metrics = {name: value for name, value in metrics.items() if step > self._recorded.get(name, -1)}
        values: dict[str, float] = {}
        tensors: dict[str, Tensor] = {}
        for name, value in metrics.items():
            if type(value) is float:
                values[name] = value
            elif isinstance(value, Tensor) and value.device.type != "cpu":
                tensors[name] = value
            else:
                try:
                    values[name] = float(value)
                except (TypeError, ValueError):
                    say(f"the metric `{name}` is not a number but a {type(value).__name__}: not recorded.")
        opened = self._open()
        if tensors:
            self._arrivals.start(time.time_ns() // 1_000_000, step, values, tensors)
        elif values:
            opened.append("metrics", step=step, values=values)

    def go_on(self) -> None:
        """The run is resumed from a checkpoint: numbers that it recorded after that are recorded once, not again."""
        if _is_rank_zero() and self._folder.records.is_file():
            self._recorded = journal.last_steps(self._folder.records)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self.log_params(vars(params) if isinstance(params, Namespace) else params)

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        # the first thing Lightning shows every logger is the module, and through it the trainer
        trainer = getattr(model, "_trainer", None)
        if trainer is not None:
            hand_over_tensors(trainer)

    def finalize(self, status: str) -> None:
        """Note how a stage ended; Lightning calls this after each. `close` ends the run."""
        if status != "success":
            self._failure = status_of(sys.exc_info()[1]) if sys.exc_info()[1] else "FAILED"
        if self._journal is not None and os.getpid() == self._pid:
            self._settle(wait=True)

    # What a run keeps beside metrics

    @rank_zero_only
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings get dotted names.

        A value beyond MLflow's limit is kept whole as the artifact `params/<name>.txt`. Parameters only grow:
        one that changes on resume keeps its first value in MLflow, and the tag `param_drift` says what it was
        and is.
        """
        values = {}
        for name, value in flatten(params).items():
            text = redact_value(name, value)
            if len(text) > LONGEST_PARAM:
                self.log_text(text, f"params/{journal_file(name)}.txt")
                text = shorten(text, LONGEST_PARAM, f"params/{journal_file(name)}.txt")
            values[name] = text
        if values:
            self._open().append("params", values=values)

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one. Long ones are kept whole as
        `tags/<name>.txt`."""
        values = {}
        for name, value in tags.items():
            text = redact_value(name, as_text(value))
            if len(text) > LONGEST_TAG:
                self.log_text(text, f"tags/{journal_file(name)}.txt")
                text = shorten(text, LONGEST_TAG, f"tags/{journal_file(name)}.txt")
            values[name] = text
        if values:
            self._open().append("tags", values=values)

    @rank_zero_only
    def log_artifact(self, local_path: Path | str, artifact_path: str | None = None) -> None:
        """Keep a file or folder. It is copied before this returns, so it may change or go away afterwards.

        Args:
            artifact_path: the folder among the run's artifacts; None: the top.
        """
        local = Path(local_path)
        opened = self._open()
        try:
            self._folder.spool.put(local, artifact_path)
        except OSError as error:
            say(f"the artifact {local} could not be kept: {error.strerror or error}.")
            return
        opened.append("artifact", name=local.name, to=artifact_path)

    @rank_zero_only
    def log_text(self, text: str, artifact_file: str) -> None:
        """Keep a text as an artifact such as `config/command.txt`, without the credentials in it."""
        folder, _, name = artifact_file.rpartition("/")
        opened = self._open()
        try:
            self._folder.spool.put_text(redact(text), name, folder or None)
        except OSError as error:
            say(f"the artifact {artifact_file} could not be kept: {error.strerror or error}.")
            return
        opened.append("artifact", name=name, to=folder or None)

    @rank_zero_only
    def log_dict(self, content: Mapping[str, Any] | Sequence[Any], artifact_file: str) -> None:
        """Keep a structure as a JSON artifact, without the credentials in it."""
        self.log_text(json.dumps(redact_tree(content), indent=1, default=str), artifact_file)

    @rank_zero_only
    def log_table(self, table: Mapping[str, Sequence[Any]], artifact_file: str) -> None:
        """Keep columns of equal length as a table that MLflow's UI shows beside those of other runs."""
        columns = list(table)
        content = {"columns": columns, "data": [list(row) for row in zip(*table.values(), strict=True)]}
        self.log_text(json.dumps(content, default=str), artifact_file)
        self._open().append("table", path=artifact_file)

    @rank_zero_only
    def log_input(
        self,
        *,
        name: str,
        digest: str,
        source_type: str = "local",
        source: str = "",
        schema: str | None = None,
        profile: str | None = None,
        context: str | None = None,
    ) -> None:
        """Record a data set that the run reads.

        Args:
            digest: its fingerprint; MLflow keeps 36 characters.
            source_type, source: where it is from, such as "hugging_face" and JSON that says which.
            schema, profile: JSON that describes its columns and its sizes.
            context: what it is used for, such as "training".
        """
        self._open().append(
            "input",
            name=redact(name)[:500],
            digest=digest[:36],
            source_type=source_type,
            source=redact(source),
            schema=schema,
            profile=profile,
            context=context,
        )

    # The end

    def close(self, status: str | None = None) -> None:
        """End the run, and give the shipper a bounded time to finish; says so when results have to wait.

        Args:
            status: FINISHED, FAILED or KILLED; None: as the stages ended. A process that exits closes its
                runs.
        """
        if self._journal is None or self._ended or os.getpid() != self._pid:
            return
        self._settle(wait=True)
        self._journal.append("end", status=status or self._failure or "FINISHED")
        self._ended = True
        self._stop.set()
        self._journal.close()
        self._journal = None
        if self._ships:
            self._await_shipper()
        atexit.unregister(self._close_at_exit)

    def __enter__(self) -> "RunLogger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.close(status_of(error) if error else None)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned process opens the journal for itself
        own = ("_journal", "_shipper", "_arrivals", "_opening", "_stop")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _open(self) -> Journal:
        """The journal, opened at the first record, and again by a process that was forked from us."""
        opened = self._journal
        if opened is not None and self._pid == os.getpid():
            return opened
        if self._pid not in (0, os.getpid()):
            self._reset()
        with self._opening:
            if self._journal is None:
                self._begin()
        assert self._journal is not None
        return self._journal

    def _begin(self) -> None:
        begun = Journal(self._folder.records)
        earlier = self._folder.head()
        self._uid = earlier["run"] if earlier else uuid.uuid4().hex
        self._folder.owner.claim()
        self._pid = os.getpid()
        begun.append(
            "begin",
            format=journal.FORMAT,
            version=journal.VERSION,
            run=self._uid,
            experiment=self._experiment,
            name=redact(self._run_name),
            tracking_uri=redact(absolute(self._tracking_uri)) if self._tracking_uri else None,
            run_id=self._continued,
            parent=self._parent,
        )
        self._journal, self._ended = begun, False
        self._stop = threading.Event()
        if self._first_tags:
            self.log_tags(self._first_tags)
        threading.Thread(target=self._keep, args=(self._stop,), daemon=True).start()
        if self._ships:
            self._shipper = Shipper(self._folder, self.tracking_uri)
            earlier_runs = (self._store, self._tracking_uri)
            threading.Thread(target=sync_in_background, args=earlier_runs, daemon=True).start()
        atexit.register(self._close_at_exit)  # holds on to the run, which must end even if nobody else does

    def _settle(self, *, wait: bool = False) -> None:
        """Write what has arrived from devices, and bring everything to the disk."""
        opened = self._journal
        if opened is None:
            return
        for pending in self._arrivals.take(wait=wait):
            opened.append("metrics", step=pending.step, t=pending.t, values=pending.values())
        opened.flush()

    def _keep(self, stop: threading.Event) -> None:
        """The background thread: brings the journal to disk, and shows other machines that we live."""
        beaten = time.monotonic()
        while not stop.wait(self._fsync_seconds):
            self._settle()
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                self._folder.owner.beat()
                beaten = time.monotonic()

    def _close_at_exit(self) -> None:
        self.close(self._failure or status_of(getattr(sys, "last_value", None)))

    def _await_shipper(self) -> None:
        if self._shipper is None or self._shipper.has_ended():
            self._shipper = Shipper(self._folder, self.tracking_uri)
        self._shipper.release()
        failures = self._folder.shipped().failures
        begun = moved = time.monotonic()
        waiting = self._folder.waiting()
        while not self._folder.is_shipped():
            now, shipped = time.monotonic(), self._folder.shipped()
            still = self._folder.waiting()
            if still < waiting:
                waiting, moved = still, now
            gone = self._shipper.has_ended() or shipped.failures > failures
            if gone or now - moved > PATIENCE_SECONDS or now - begun > LONGEST_PATIENCE_SECONDS:
                self._say_waiting(shipped.trouble)
                return
            time.sleep(0.05)

    def _say_waiting(self, trouble: str | None) -> None:
        where = f" --store {self._store}" if self._store != Path("mlruns").absolute() else ""
        why = f" ({trouble})" if trouble else ""
        say(
            f"MLflow does not have all of this run yet{why}. Nothing is lost: "
            f"it waits in {self._folder.path}, and `lantu sync{where}` ships it."
        )


def status_of(error: BaseException | None) -> str:
    """How MLflow calls the end of a run that this exception ended: FINISHED, FAILED or KILLED."""
    if error is None:
        return "FINISHED"
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "KILLED"
    if type(error) is SystemExit:
        return "FAILED" if error.code else "FINISHED"
    return "KILLED" if isinstance(error, SystemExit) else "FAILED"  # Lightning makes a SystemExit of SIGTERM


def _is_rank_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def journal_file(name: str) -> str:
    """A parameter's name as a file's name."""
    return name.replace("/", "_")[:100]
