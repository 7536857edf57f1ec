"""Ending a trial that will not win, while it trains."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.loggers import log_tags
from lantu.sweeps.state.sweep_folder import PRUNED


class Pruning(Callback):
    """Reports a metric to an Optuna study at every validation, and stops the training when the study says so.

    Rank zero asks; all ranks stop at the same step.

    Args:
        storage: the study's database or journal file, as `lantu.sweeps.search.study.open_storage` takes it.
        study_name: the study.
        number: the trial's number in it.
        pruner: one of `optuna.pruners`.
        monitor: the metric that decides.
        run_dir: the trial's folder, where it is noted why it ended early.
    """

    def __init__(self, *, storage: str, study_name: str, number: int, pruner: Any, monitor: str, run_dir: str) -> None:
        self.storage, self.study_name, self.number = storage, study_name, number
        self.pruner = pruner
        self.monitor, self.run_dir = monitor, Path(run_dir)
        self._trial: Any = None
        self._validations = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        prune = trainer.is_global_zero and self._is_hopeless(trainer)
        if trainer.strategy.broadcast(prune):
            trainer.should_stop = True
            trainer.limit_test_batches = 0  # a pruned model is not chosen, so it need not be tested

    def _is_hopeless(self, trainer: Trainer) -> bool:
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            return False
        trial = self._trial = self._trial or self._open()
        self._validations += 1
        trial.report(float(value), self._validations)
        if not trial.should_prune():
            return False
        reason = f"{self.monitor} {float(value):.4g} at step {trainer.global_step} was not among the best"
        (self.run_dir / PRUNED).write_text(reason)
        log_tags(trainer, {"lantu.pruned": reason})
        return True

    def _open(self) -> Any:
        import optuna

        from lantu.sweeps.search.study import open_storage, quiet

        quiet()
        study = optuna.load_study(study_name=self.study_name, storage=open_storage(self.storage), pruner=self.pruner)
        (found,) = [each for each in study.get_trials(deepcopy=False) if each.number == self.number]
        return optuna.trial.Trial(study, found._trial_id)

    def state_dict(self) -> dict[str, Any]:
        """A resumed trial reports from the step at which it stopped."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = int(state_dict["validations"])
