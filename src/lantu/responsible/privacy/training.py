"""DP-SGD inside Lightning: hooks on the network, a private optimizer, Poisson batches, and the account."""

import warnings
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.intervals import steps_done
from lantu.loggers import log_artifact, log_metrics, log_tags
from lantu.responsible.privacy import ledger
from lantu.responsible.privacy.accounting import History, affordable_steps, counted, epsilon_of, noise_for
from lantu.responsible.privacy.checks import check_gradients, check_network
from lantu.responsible.privacy.poisson_batches import PoissonBatches
from lantu.responsible.privacy.secret import Secret
from lantu.tasks import Task


class DifferentialPrivacy(Callback):
    """Train with (epsilon, delta)-differential privacy of each training example (Abadi et al. 2016).

    Two data sets are neighbours if one example of the one is blanked in the other, so that it has no gradient
    (zero-out adjacency, Kairouz et al. 2021); the number of rows is public.

    Args:
        epsilon: the budget. Training stops before a step that would exceed it.
        delta: probability with which the bound may fail.
        clip: longest gradient of one example.
        noise: noise multiplier; None: the smallest with which the planned steps stay within the budget.
        accountant: prv or rdp.
        key: file of the run's secret. It is made when training begins and removed when it has ended.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float = 1e-5,
        clip: float = 1.0,
        noise: float | None = None,
        accountant: str = "prv",
        key: str | Path,
    ) -> None:
        self.epsilon, self.delta, self.clip, self.accountant = epsilon, delta, clip, accountant
        self.noise = noise
        self.key = Path(key)
        self.spent: History = []
        """The steps taken so far, those of earlier processes of the run included."""
        self._stored: dict[str, Any] = {}
        self._secret: Secret | None = None
        self._optimizer: Any = None
        self._hooks: Any = None
        self._batches: PoissonBatches | None = None
        self._left = 0
        self._end = 0.0

    def protect(self, task: Task, data: DataModule, *, run_dir: Path, resumes: bool) -> None:
        """Let a task's optimizer and a data module's batches be private; before the trainer asks for either.

        Args:
            run_dir: with the account of the run, if it goes on.
            resumes: whether the run goes on from a checkpoint; then its key must be there.

        Raises:
            UserError: the network mixes examples, or the key is missing.
        """
        check_network(task.net)
        others = [name for name, each in task.named_parameters() if each.requires_grad and not name.startswith("net.")]
        if others:
            raise UserError(f"`privacy=dp` protects the weights of `task.net`, and this task trains `{others[0]}` too.")
        self._secret = self._key(run_dir, resumes=resumes)
        data.training_batches = partial(self._make_batches, secret=self._secret)
        factory = task._optimizer
        assert factory is not None

        def private(groups: list[dict[str, Any]]) -> Any:
            from lantu.responsible.privacy.optimizer import PrivateOptimizer

            assert self._secret is not None
            self._optimizer = PrivateOptimizer(
                factory(groups), secret=self._secret, clip=self.clip, batch_size=data.batch_size, allow=self._allow
            )
            return self._optimizer

        task._optimizer = private

    # What Lightning calls

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        from lantu.responsible.privacy.hooks import per_example_gradients

        assert isinstance(pl_module, Task)
        warnings.filterwarnings("ignore", message="Full backward hook is firing")  # Opacus means it so
        if trainer.world_size > 1:
            raise UserError("`privacy=dp` trains on one device: add `trainer.devices=1`.")
        assert self._batches is not None
        self._hooks = per_example_gradients(pl_module.net)
        self._hooks.disable_hooks()
        check_gradients(pl_module, trainer.datamodule, self._hooks)
        self._plan(trainer)
        self._say(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert self._batches is not None
        self._optimizer.is_empty = self._batches.is_empty(trainer.current_epoch, batch_idx)
        self._hooks.enable_hooks()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._hooks.disable_hooks()
        if self._left <= 0 and not trainer.should_stop and self.steps < self._end:
            trainer.should_stop = True  # Lightning validates, keeps a checkpoint and ends
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None  # the budget is final
            log_tags(trainer, {"lantu.stopped_by": f"privacy.epsilon={self.epsilon:g} is spent"})
            _print(trainer, f"stopping: the privacy budget epsilon={self.epsilon:g} is spent")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("privacy/epsilon", self.spent_epsilon(), on_step=False, on_epoch=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hooks.remove_hooks()
        epsilon = self.spent_epsilon()
        log_metrics(trainer, {"privacy/epsilon": epsilon}, step=steps_done(trainer))
        log_tags(trainer, {"lantu.privacy": f"epsilon={epsilon:.3g} delta={self.delta:g}"})
        self._write(trainer, self.spent, epsilon, ended=not trainer.interrupted)
        if not trainer.interrupted:
            self.key.unlink(missing_ok=True)  # nothing is left to repeat: from now on nobody can subtract the noise
        _print(trainer, f"privacy: epsilon {epsilon:.3f} at delta {self.delta:g} was spent in {self.steps:,} steps")

    def state_dict(self) -> dict[str, Any]:
        return {"history": [list(each) for each in self.spent], "noise": self._noise_used(), "clip": self.clip}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spent = [(float(noise), float(rate), int(steps)) for noise, rate, steps in state_dict["history"]]
        self._stored = dict(state_dict)

    # The account

    @property
    def steps(self) -> int:
        """Optimizer steps taken so far."""
        return sum(steps for *_, steps in self.spent)

    def spent_epsilon(self) -> float:
        """What the steps so far have spent, an upper bound."""
        return epsilon_of(self.spent, delta=self.delta, accountant=self.accountant)

    def _allow(self) -> None:
        """Count a step, before its result exists."""
        assert self._batches is not None
        if self._left <= 0:
            raise UserError(f"`privacy.epsilon={self.epsilon:g}` is spent after {self.steps:,} steps.")
        self.spent = counted(self.spent, noise=self._optimizer.noise_multiplier, rate=self._batches.rate)
        self._left -= 1

    def _plan(self, trainer: Trainer) -> None:
        """Find the noise, and how many steps the budget allows."""
        assert self._batches is not None
        self._end = float(trainer.estimated_stepping_batches)
        planned, rate = self._end - self.steps, self._batches.rate
        options: dict[str, Any] = {"delta": self.delta, "accountant": self.accountant}
        noise = self.noise or self._stored.get("noise")
        if noise is None:
            if planned == inf:
                raise UserError(
                    "`privacy.noise=null` finds the noise from the number of steps, and this run has no end that is "
                    "known: set `trainer.max_epochs`, or `privacy.noise=1.0`."
                )
            noise = noise_for(self.epsilon, rate=rate, steps=int(planned), spent=self.spent, **options)
        elif self.spent_epsilon() > self.epsilon:
            raise UserError(
                f"`privacy.epsilon={self.epsilon:g}`: this run has spent {self.spent_epsilon():.3f} already."
            )
        self._optimizer.noise_multiplier, self._optimizer.steps = float(noise), self.steps
        most = 10**7 if planned == inf else int(planned)
        self._left = affordable_steps(self.epsilon, noise=noise, rate=rate, most=most, spent=self.spent, **options)
        if self._left <= 0 < most:
            raise UserError(
                f"`privacy.epsilon={self.epsilon:g}` affords no further step with `privacy.noise={noise:g}`: allow a "
                "larger epsilon, or more noise."
            )

    def _noise_used(self) -> float | None:
        return None if self._optimizer is None else float(self._optimizer.noise_multiplier)

    def _make_batches(self, size: int, *, secret: Secret, **options: Any) -> PoissonBatches:
        self._batches = PoissonBatches(size, secret=secret, **options)
        return self._batches

    def _key(self, run_dir: Path, *, resumes: bool) -> Secret:
        """Return the run's key: new for a new run, read for a resumed one."""
        if self.key.is_file():
            if not resumes:
                raise UserError(
                    f"`privacy.key={self.key}` is there already: it belongs to a run that has not ended. Add "
                    "`resume=auto` to go on with it, or name another file."
                )
            return Secret.read(self.key)
        account = ledger.read(run_dir)
        if resumes and account is not None and not account.get("ended"):
            raise UserError(
                f"`privacy.key={self.key}` is missing. Steps that this run has taken since its last checkpoint would "
                "be taken again with other noise, and would spend privacy that nobody counts. Bring the key here, or "
                "begin a new run."
            )
        return Secret.create(self.key)

    def _write(self, trainer: Trainer, history: History, epsilon: float, *, ended: bool) -> None:
        assert self._batches is not None
        path = ledger.write(
            Path(trainer.default_root_dir),
            {
                "epsilon": epsilon, "delta": self.delta, "budget": self.epsilon, "noise": self._noise_used(),
                "clip": self.clip, "rate": self._batches.rate, "batch_size": self._batches.batch_size,
                "steps": self.steps, "accountant": self.accountant, "history": [list(each) for each in history],
                "unit": "one training example", "adjacency": "zero-out", "not_covered": list(ledger.NOT_COVERED),
                "ended": ended,
            },
        )  # fmt: skip
        if ended:
            log_artifact(trainer, path)

    def _say(self, trainer: Trainer) -> None:
        assert self._batches is not None
        batches, optimizer = self._batches, self._optimizer
        # until it has ended, a run counts with all that it may spend: one that fails is never counted too low
        planned = [*self.spent, (float(optimizer.noise_multiplier), batches.rate, self._left)]
        self._write(trainer, planned, self.epsilon, ended=False)
        _print(
            trainer,
            f"  privacy: epsilon {self.epsilon:g} at delta {self.delta:g} for each training example; noise "
            f"{optimizer.noise_multiplier:.3f}, clip {self.clip:g}, sampling rate {batches.rate:.4f}, {self._left:,} "
            f"steps ({self.accountant})",
        )
        if self.delta >= 1 / batches.size:
            _print(trainer, f"  privacy: delta is not below 1 / {batches.size:,} examples, so the guarantee is weak")
        for each in ledger.NOT_COVERED:
            _print(trainer, f"  privacy: not covered: {each}")


def _print(trainer: Trainer, line: str) -> None:
    if trainer.is_global_zero:
        from rich import get_console

        get_console().print(line, highlight=False, soft_wrap=True)
