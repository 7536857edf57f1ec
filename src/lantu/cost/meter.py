"""The callback that measures a run's cost, stops it at its budget, and says beforehand what it will take."""

import time
from typing import Any

from lightning_fabric.utilities.apply_func import move_data_to_device
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from lantu import loggers, units
from lantu.cost import preflight, work
from lantu.cost.energy import EnergyMeter
from lantu.cost.hardware import HardwareUse
from lantu.cost.prices import Budget, Economics
from lantu.cost.totals import Totals
from lantu.intervals import broadcast_from_rank_zero, log_interval, steps_done
from lantu.models.sharding import is_sharded
from lantu.notices import warn_once

LIVE_SECONDS = 10.0
"""Between two looks at energy and money while training."""
BUDGET_SECONDS = VALIDATION_SECONDS = 1.0
"""The same where a budget may end the run, and at validations, which give a curve of quality by money its points."""
CHECKPOINT_SECONDS = 1.0
"""How old the energy of the processors may be that a checkpoint holds."""
STATE = "lantu.cost"
"""Where a checkpoint keeps what the run has used."""


class CostMeter(Callback):
    """Logs `cost/*` and `speed/*`, live and in total; a resumed run goes on adding, and ranks are added up.

    Nothing here waits for a GPU during training: times are the host's, which a training loop fills evenly.

    Args:
        economics: options of `Economics`.
        budget: options of `Budget`.
        say: print the estimate and why a budget ended the run.
    """

    def __init__(
        self, *, economics: dict[str, Any] | None = None, budget: dict[str, Any] | None = None, say: bool = True
    ) -> None:
        self.economics = Economics(**(economics or {}))
        self.budget = Budget(**(budget or {}))
        self.say = say
        self._live_seconds = LIVE_SECONDS if self.budget == Budget() else BUDGET_SECONDS
        self.before = Totals()  # of the run's earlier processes
        self.now = Totals()
        self.estimate: preflight.Estimate | None = None
        self.energy_source = ""
        self.spent: dict[str, float] = {}
        """The cost when the last stage ended, named as it is logged."""
        self.stopped_by: str | None = None
        self._energy: EnergyMeter | None = None
        self._hardware: HardwareUse | None = None
        self._example: Any = None  # a batch of one example's inputs, to count and to time with
        self._looked_at_a_batch = False
        self._flops_per_sample = 0.0
        self._counted: tuple[Any, tuple[int, int]] = (None, (0, 0))  # shape and type of inputs, and what they hold
        self._begun = 0.0
        self._batch_ended: float | None = None
        self._looked = 0.0
        self._timed: list[float] = []

    # Lightning's life of a run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._energy is None and not trainer.fast_dev_run:
            device = trainer.strategy.root_device
            self._energy = EnergyMeter(self.economics, gpu=device.index if device.type == "cuda" else None)
            self._hardware = HardwareUse(device)
            self._begun = time.monotonic()
            self._batch_begun = self._begun

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._looked = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_ended = None  # what lies between two epochs is not waiting for data

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch_begun = time.monotonic()
        if self._batch_ended is not None:
            self.now.waiting_seconds += self._batch_begun - self._batch_ended
        if not self._looked_at_a_batch:
            self._looked_at_a_batch = True
            self._count(pl_module, batch)
            self._batch_begun = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        took = now - (self._batch_ended or self._batch_begun)
        self._batch_ended = now
        used = self.now
        examples, tokens = self._size_of(batch)
        used.training_seconds += took
        used.steps += 1
        used.samples += examples
        used.tokens += tokens
        used.flops += 3 * self._flops_per_sample * examples  # the backward pass takes twice the forward one
        if self._energy is None:
            return
        if self.estimate is None:
            self._estimate(trainer, took)
        # every rank looks at the same steps, since looking adds up over the ranks
        if now - self._looked < self._live_seconds and trainer.world_size == 1:
            return
        if steps_done(trainer) % log_interval(trainer) == 0 and self._due(trainer, self._live_seconds):
            self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch_ended = None
        if self._energy is not None and _is_fitting(trainer) and self._due(trainer, VALIDATION_SECONDS):
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # here and not when the fit has ended, which Lightning says after it has moved the model to the CPU
        if self._energy is None or not trainer.is_global_zero:
            return
        measured = {"cost/peak_memory_gib": work.peak_memory_gib(trainer.strategy.root_device)}
        if self._example is not None and not is_sharded(pl_module.net):  # which no rank can run alone
            try:
                with trainer.precision_plugin.forward_context():
                    example = move_data_to_device(self._example, pl_module.device)
                    measured["speed/latency_ms"] = work.latency_ms(pl_module.net, example)
            except Exception as error:  # measuring must not end a run
                warn_once(f"`speed/latency_ms` was not measured: {type(error).__name__}: {error}")
        self._log(trainer, measured)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._energy is None or trainer.interrupted:
            return
        self._energy.wait()
        self.spent = self._look(trainer)
        self._tag(trainer, {"cost.energy_source": self.energy_source})
        if self.estimate and not self.stopped_by:
            hours = self.spent["cost/device_hours"] / trainer.world_size
            self._log(
                trainer, self.estimate.errors(hours=hours, kwh=self.spent["cost/kwh"], usd=self.spent["cost/usd"])
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._energy is not None:
            checkpoint[STATE] = vars(self.total(trainer, at_most_old=CHECKPOINT_SECONDS)).copy()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if STATE in checkpoint and self.now.steps == 0:  # resuming, rather than loading the best one for the test
            self.before = Totals(**checkpoint[STATE])

    def close(self) -> None:
        """End the measuring thread; for when the run is over."""
        if self._energy is not None:
            self._energy.stop()
            self._energy = None

    # What it knows

    def total(self, trainer: Trainer, *, at_most_old: float = 0.0) -> Totals:
        """Of the whole run so far, over all ranks and earlier processes.

        Args:
            at_most_old: seconds, as of `EnergyMeter.kwh`.
        """
        self._clock(at_most_old)
        ranks = trainer.world_size
        device = trainer.strategy.root_device  # NCCL adds up what lies on a GPU only
        here = self.now.over_ranks(lambda values: trainer.strategy.reduce(values.to(device), reduce_op="sum"), ranks)
        return self.before.plus(here)

    def cost(self, trainer: Trainer, total: Totals) -> dict[str, float]:
        """The cost of what was used in all, named as it is logged."""
        assert self._energy is not None
        return total.cost(
            self.economics,
            device=work.device_name(trainer.strategy.root_device),
            devices=trainer.world_size,
            grams_co2e_per_kwh=self._energy.grams_co2e_per_kwh(),
        )

    def _count(self, task: LightningModule, batch: Any) -> None:
        """Count the operations of one example, where the task has one network and it takes the batch's inputs."""
        net = getattr(task, "net", None)
        if net is None:
            return
        try:
            example = work.one_example(batch)
            self._flops_per_sample = work.forward_flops(net, example)
            self._example = example
        except Exception as error:  # measuring must not end a run
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warn_once(
                f"operations and latency are not measured: `{type(net).__name__}` does not take the first part of a "
                f"batch by itself ({reason[:200]})."
            )

    def _size_of(self, batch: Any) -> tuple[int, int]:
        """A batch's examples and tokens; counted anew only where its inputs are not like those of the last batch."""
        x = batch[0] if type(batch) in (tuple, list) and batch else batch
        like = (x.shape, x.dtype) if type(x) is Tensor else None
        if like is None or like != self._counted[0]:
            self._counted = (like, (work.examples_in(batch), work.tokens_in(x)))
        return self._counted[1]

    def _clock(self, at_most_old: float) -> None:
        if self._energy is not None:
            self.now.seconds = time.monotonic() - self._begun
            self.now.kwh = self._energy.kwh(at_most_old)
            self.energy_source = self.energy_source or self._energy.source()

    def _due(self, trainer: Trainer, seconds: float) -> bool:
        return broadcast_from_rank_zero(trainer, time.monotonic() - self._looked >= seconds)

    def _look(self, trainer: Trainer) -> dict[str, float]:
        """Log what has been used, and stop at the budget."""
        self._looked = time.monotonic()
        total = self.total(trainer)
        cost = self.cost(trainer, total)
        peak = work.peak_flops(trainer.strategy.root_device, str(trainer.precision))
        use = self._hardware.look() if self._hardware and trainer.is_global_zero else {}
        self._log(
            trainer, use | cost | (total.speed(devices=trainer.world_size, peak_flops=peak) if total.steps else {})
        )
        reason = self.budget.exceeded(usd=cost["cost/usd"], kwh=cost["cost/kwh"], hours=total.seconds / 3600)
        if reason and not self.stopped_by and _is_fitting(trainer):
            self.stopped_by = reason
            trainer.should_stop = True  # Lightning validates, keeps a checkpoint and ends
            self._tag(trainer, {"lantu.stopped_by": reason})
            self._print(trainer, f"stopping: {reason}; the best checkpoint is kept")
        self._batch_ended = None  # looking is not waiting for data
        return cost

    def _estimate(self, trainer: Trainer, took: float) -> None:
        assert self._energy is not None
        self._timed.append(took)
        if len(self._timed) < preflight.TIMED:
            return
        if trainer.world_size > 1:
            self._energy.wait()  # all ranks estimate at the same step
        elif not self._energy.is_ready():
            return
        steps = sorted(self._timed[preflight.SKIPPED :])
        left = preflight.seconds_left(trainer, steps[len(steps) // 2])
        total = self.total(trainer)
        cost = self.cost(trainer, total)
        seconds = total.seconds + left
        growth = seconds / max(total.seconds, 1e-9)
        device = trainer.strategy.root_device
        memory = work.peak_memory_gib(device)
        hours = seconds / 3600
        kwh = cost["cost/kwh"] * growth
        usd = self.economics.usd(device=work.device_name(device), device_hours=hours * trainer.world_size, kwh=kwh)
        self.estimate = preflight.Estimate(
            hours=hours, kwh=kwh, usd=usd, co2e_kg=cost["cost/co2e_kg"] * growth, memory_gib=memory,
            memory_share=memory / work.total_memory_gib(device),
        )  # fmt: skip
        if seconds < float("inf"):
            self._log(trainer, self.estimate.metrics())
            self._print(
                trainer,
                f"  estimate: {units.format_duration(seconds)}, {units.format_energy(kwh)}, {units.format_money(usd)}, "
                f"{memory:.1f} GiB of memory ({self.estimate.memory_share:.0%})",
            )
        self._batch_ended = None

    def _log(self, trainer: Trainer, values: dict[str, float]) -> None:
        loggers.log_metrics(trainer, values, step=steps_done(trainer))

    def _tag(self, trainer: Trainer, tags: dict[str, str]) -> None:
        loggers.log_tags(trainer, tags)

    def _print(self, trainer: Trainer, line: str) -> None:
        if self.say and trainer.is_global_zero:
            from rich import get_console  # the one that the progress bar lives in

            get_console().print(line, highlight=False)


def _is_fitting(trainer: Trainer) -> bool:
    """Training, or validating in between."""
    return bool(trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking)


def cost_meter(trainer: Trainer) -> CostMeter | None:
    """The trainer's meter, if it has one."""
    return next((each for each in trainer.callbacks if isinstance(each, CostMeter)), None)
