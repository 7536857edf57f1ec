"""Ray Tune on the same configs: population-based training (Jaderberg et al. 2017) and ASHA on many machines.

Tune decides which trials continue and which checkpoints they copy. A trial is the same run as in any other sweep.
"""

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from lantu.errors import UserError
from lantu.ray_cluster import connect, disconnect
from lantu.sweeps.pools.pool import Job, Work
from lantu.sweeps.pools.ray import refuse_impossible
from lantu.sweeps.search.options import RayTuneOptions
from lantu.sweeps.search.pbt import CHECKPOINT
from lantu.sweeps.search.space import Space, spelled
from lantu.sweeps.state.request import Point, Request, without_identity
from lantu.sweeps.state.sweep_folder import ENDED, SweepFolder, TrialFolder
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder

STUDY = "study"
NUMBER = "n_trials"
KEPT = 10  # checkpoints kept for each trial, for others to copy
LEAVING_SECONDS = 60.0  # how long to wait for the earlier process of a trial to end


@dataclass(frozen=True)
class TuneTrial:
    """The function that Tune's workers run."""

    work: Work
    sweep: str
    fixed: tuple[str, ...]
    monitor: str

    def __call__(self, config: Mapping[str, Any]) -> None:
        """Train with the values and the checkpoint that Tune chose.

        Raises:
            RuntimeError: the trial failed. Tune needs the exception; the reason is in the trial's state.
        """
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", f"{LEAVING_SECONDS:.0f}")
        sweep = SweepFolder(Path(self.sweep))
        number = int(tune.get_context().get_trial_id().rpartition("_")[2])
        point = Point(tuple(f"{key}={spelled(value)}" for key, value in config.items()))
        trial = sweep.trial(number)
        _wait_until_left(trial)
        trial.plan(point)
        varied = [each.removeprefix("optimizer.").replace("=", ":") for each in point.overrides if _is_varied(each)]
        callback = (
            f"_target_:lantu.sweeps.search.pbt.Population,monitor:'{self.monitor}',optimizer:{{{','.join(varied)}}}"
        )
        overrides = [*self.fixed, *point.overrides, f"+callbacks.population={{{callback}}}"]
        overrides += [f"sweep.name={sweep.name}", f"sweep.trial={number}"]
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            self.work(Job(number, tuple(overrides)))
        else:
            with checkpoint.as_directory() as folder:
                self.work(Job(number, (*overrides, f"resume='{Path(folder) / CHECKPOINT}'")))
        state = trial.state()
        if state.status == "failed":
            raise RuntimeError(state.reason)


class Tuning:
    """One Ray Tune study, new or resumed."""

    def __init__(
        self, sweeper: RayTuneOptions, space: Space, request: Request, folder: SweepFolder, work: Work
    ) -> None:
        """Connect to Ray.

        Raises:
            UserError: no cluster, a cluster that is too small, or an invalid scheduler config.
        """
        self._sweeper, self._folder, self._work = sweeper, folder, work
        content = folder.content()
        self._objective = str(content["objectives"][0]).removesuffix("_best")
        self._mode = "min" if content["directions"][0] == "minimize" else "max"
        self._space = {each.key: _domain(each.distribution()) for each in space.dimensions}
        self._scheduler = self._build_scheduler()
        self._fixed = tuple(without_identity(request.fixed))
        self._place = folder.path.absolute() / "tune"
        self._refuse_another_number()
        self._forgive(int(work.config.sweep.retries))
        resources = {"num_cpus": sweeper.num_cpus, "num_gpus": sweeper.num_gpus}
        self._is_ours = connect(sweeper.address, {})
        try:
            refuse_impossible(resources)
        except UserError:
            self.close()
            raise

    def planned(self) -> int | None:
        """Return the number of trials."""
        return int(self._sweeper.n_trials)

    def until_all_have_ended(self) -> Iterator[int | None]:
        """Run the study."""
        yield self.planned()
        trial = TuneTrial(self._work, str(self._folder.path.absolute()), self._fixed, self._objective)

        def train(config: dict[str, Any]) -> None:
            trial(config)

        trainable = tune.with_resources(train, {"cpu": self._sweeper.num_cpus, "gpu": self._sweeper.num_gpus})
        if self._has_begun():
            tuner = tune.Tuner.restore(
                str(self._place / STUDY),
                trainable,
                param_space=self._space,
                resume_unfinished=True,
                restart_errored=True,
            )
        else:
            tuner = tune.Tuner(
                trainable,
                param_space=self._space,
                tune_config=tune.TuneConfig(
                    metric=self._objective,
                    mode=self._mode,
                    scheduler=self._scheduler,
                    num_samples=self._sweeper.n_trials,
                    time_budget_s=self._sweeper.timeout,
                    reuse_actors=True,  # a copied trial starts in a process that has imported everything
                ),
                run_config=tune.RunConfig(
                    name=STUDY,
                    storage_path=str(self._place),
                    verbose=0,
                    # a copied trial may wait for a free slot; its checkpoint must still exist then
                    checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT),
                    failure_config=tune.FailureConfig(max_failures=self._sweeper.retries),
                ),
            )
        for result in _fitted(tuner):
            self._settle(result)
        yield self.planned()

    def close(self) -> None:
        """Disconnect from Ray."""
        if self._is_ours:
            disconnect()

    def _has_begun(self) -> bool:
        return bool(tune.Tuner.can_restore(self._place / STUDY))

    def _refuse_another_number(self) -> None:
        """Refuse to resume the study with another number of trials, which Tune would ignore."""
        kept = self._place / NUMBER
        if not self._has_begun():
            self._place.mkdir(parents=True, exist_ok=True)
            kept.write_text(str(self.planned()))
        before = kept.read_text()
        if before != str(self.planned()):
            raise UserError(
                f"`hydra.sweeper.n_trials={self.planned()}`: the population of `{self._folder.name}` has begun with "
                f"{before} trials, which stay as many. Go on with `hydra.sweeper.n_trials={before}`, or begin another "
                f"sweep: `sweep.name=...`."
            )

    def _forgive(self, retries: int) -> None:
        """Set failed trials of an earlier start back to planned, unless they are out of retries."""
        for trial in self._folder.trials():
            state = trial.state()
            if state.status == "failed" and state.attempts <= retries:
                state.status, state.reason = "planned", ""
                trial.keep(state)

    def _build_scheduler(self) -> Any:
        from hydra.errors import InstantiationException
        from hydra.utils import instantiate

        node = dict(self._sweeper.scheduler)
        options: dict[str, Any] = {}
        if "PopulationBasedTraining" in node["_target_"]:
            fixed = [key for key in self._space if not _is_varied(key)]
            if fixed:
                raise UserError(
                    f"`{fixed[0]}` cannot be varied while a model trains, which is what population-based training "
                    f"does: vary numbers of the optimizer, such as `optimizer.lr`, or take "
                    f"`hydra/sweeper/scheduler=asha`."
                )
            options["hyperparam_mutations"] = self._space
        try:
            return instantiate(node, **options, _convert_="none")
        except InstantiationException as error:
            first = str(error.__cause__ or error).splitlines()[0]
            raise UserError(f"`{node['_target_']}` cannot be made as configured: {first}.") from error

    def _settle(self, result: Any) -> None:
        """Record the final status of a trial that Tune ended."""
        number = int(str(result.metrics["trial_id"]).rpartition("_")[2])
        trial = self._folder.trial(number)
        _wait_until_left(trial)
        state = trial.state()
        if state.status in ENDED:
            return
        state.ended = time.time()
        if result.error is not None:
            state.status, state.reason = "failed", str(result.error).strip().splitlines()[-1][:200]
        else:
            value = float(result.metrics[self._objective])
            state.status = "pruned"
            state.reason = f"{self._objective} {value:.4g} at step {result.metrics['step']} was not among the best"
            state.values[self._objective] = value
        trial.keep(state)
        _end_record(trial, "FAILED" if state.status == "failed" else "FINISHED", state.reason)


def _fitted(tuner: "tune.Tuner") -> Any:
    """Run a study until it ends.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. Tune handles SIGINT itself: it saves its state and returns normally. It
            restores the original handler at the first Ctrl-C, and that is how an interruption is detected here.
    """
    ours = signal.getsignal(signal.SIGINT)
    hears = threading.current_thread() is threading.main_thread()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for authors of a Trainable
            results = tuner.fit()
        if hears and signal.getsignal(signal.SIGINT) is ours:
            raise KeyboardInterrupt
    finally:
        if hears:
            signal.signal(signal.SIGINT, ours)
    return results


def _end_record(trial: TrialFolder, status: str, reason: str) -> None:
    """End a trial's record on behalf of its process, which Tune killed."""
    folder = RunFolder(trial.path)
    if not folder.records.is_file():
        return
    record = Journal(folder.records)
    try:
        record.append("tags", values={"lantu.failure" if status == "FAILED" else "lantu.pruned": reason})
        record.append("end", status=status)
        record.flush()
    finally:
        record.close()


def _wait_until_left(trial: TrialFolder) -> None:
    """Wait until no earlier process works on a trial: Tune starts the next process before the last has ended."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while trial.state().status == "running" and time.monotonic() < deadline:
        if trial.owner.is_me():
            break
        time.sleep(0.2)
    trial.owner.release()


def _is_varied(key: str) -> bool:
    """Return whether a setting can change during training."""
    return key.startswith("optimizer.")


def _domain(among: Any) -> Any:
    """Convert an Optuna distribution to a Tune domain."""
    if hasattr(among, "choices"):
        return tune.choice(list(among.choices))
    if isinstance(among.low, int):
        return tune.lograndint(among.low, among.high + 1) if among.log else tune.randint(among.low, among.high + 1)
    if among.step:
        return tune.quniform(among.low, among.high, among.step)
    return tune.loguniform(among.low, among.high) if among.log else tune.uniform(among.low, among.high)


logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the sweep itself shows the status of its trials
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # trials log to MLflow
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
