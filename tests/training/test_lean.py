"""The lean step does what Lightning's does: the same hooks, counters and numbers, for whoever listens.

But for one thing, which has a test of its own: gradients are freed before the training step, not after it.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lantu.optim import constant, cosine
from lantu.tasks import Classification
from lantu.training.callbacks.best_checkpoints import BestCheckpoints
from lantu.training.loop.lean_hooks import STEP_HOOKS
from lantu.training.loop.lean_loop import LeanEpochLoop, is_plain, make_lean

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False, "max_epochs": 2, "num_sanity_val_steps": 0, "log_every_n_steps": 3,
}  # fmt: skip


class Witness(Callback):
    """Writes down every hook of a step, with what the module then knows of it and where the counters stand."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def note(self, name: str, trainer: Trainer, module: Any, *args: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        told = [
            float(each.detach().sum()) if isinstance(each, torch.Tensor)
            else each if isinstance(each, int)
            else sorted((key, float(value)) for key, value in each.items()) if isinstance(each, dict)
            else type(each).__name__
            for each in args
        ]  # fmt: skip
        gradients = [None if p.grad is None else float(p.grad.sum()) for p in module.parameters()]
        numbers = [
            {key: float(value) for key, value in getattr(trainer._logger_connector, f"_{kind}_metrics").items()}
            for kind in ("callback", "logged", "progress_bar")
        ]
        state = {key: value for key, value in loop.state_dict().items() if key != "state_dict"}
        self.seen.append((name, module._current_fx_name, told, gradients, numbers, copy.deepcopy(state)))


def _hook(name: str) -> Any:
    def hook(self: Witness, trainer: Trainer, module: Any, *args: Any) -> None:
        self.note(name, trainer, module, *args)

    return hook


for name in STEP_HOOKS:
    setattr(Witness, name, _hook(name))


def trained(
    *,
    lean: bool,
    task: type[Classification] = Classification,
    scheduler: Any = cosine,
    callbacks: Any = (),
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[Trainer, Witness, Classification]:
    seed_everything(0, verbose=False)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    module = task(net, classes=3, optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.1), scheduler=scheduler)
    x, y = torch.randn(23, 4), torch.randint(3, (23,))
    witness = Witness()
    trainer = Trainer(**QUIET | options, callbacks=[witness, *callbacks])
    if lean:
        make_lean(trainer)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    trainer.fit(module, loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer, witness, module


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"scheduler": constant}, id="no schedule"),
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 4, "gradient_clip_val": 0.5},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"precision": "bf16-mixed"},
        {"max_steps": 8, "max_epochs": -1},
        {"val_check_interval": 2},
        {"val_check_interval": 4, "check_val_every_n_epoch": None},
        {"limit_train_batches": 3},
    ],
    ids=str,
)
def test_every_hook_counter_and_number_is_that_of_lightnings_loop(options: dict[str, Any]) -> None:
    _, theirs, before = trained(lean=False, **options)
    trainer, ours, after = trained(lean=True, **options)
    assert isinstance(trainer.fit_loop.epoch_loop, LeanEpochLoop)
    assert {name for name, *_ in ours.seen} == set(STEP_HOOKS)
    assert ours.seen == theirs.seen
    for expected, got in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_callback_may_end_the_epoch() -> None:
    class Enough(Classification):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 2 else None

    (one, theirs, _), (two, ours, _) = (trained(lean=lean, task=Enough) for lean in (False, True))
    assert one.global_step == two.global_step == 4
    assert ours.seen == theirs.seen


def test_what_a_hook_logs_is_found_where_lightning_would_put_it() -> None:
    class Talking(Classification):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.log("norm", torch.stack([p.grad.norm() for p in self.parameters()]).norm(), on_epoch=True)

    (one, *_), (two, *_) = (trained(lean=lean, task=Talking) for lean in (False, True))
    assert "norm_epoch" in two.callback_metrics
    assert one.callback_metrics == two.callback_metrics


class Differently(Classification):
    """Steps in a way of its own."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        super().optimizer_step(epoch, batch_idx, optimizer, closure)


def test_a_module_that_steps_in_its_own_way_is_let_to() -> None:
    (trainer, _, module), (*_, theirs) = (trained(lean=lean, task=Differently) for lean in (True, False))
    assert not is_plain(trainer)
    for expected, got in zip(theirs.parameters(), module.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_profiled_run_shows_lightnings_names(tmp_path: Path) -> None:
    trainer, *_ = trained(lean=True, profiler="simple", default_root_dir=tmp_path)
    assert "run_training_batch" in trainer.profiler.recorded_durations  # type: ignore[attr-defined]


def test_the_first_validation_after_going_on_is_a_whole_one(tmp_path: Path) -> None:
    class Counting(Classification):
        validated: list[tuple[int, int]]

        def on_validation_epoch_end(self) -> None:
            super().on_validation_epoch_end()
            batches = self.trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.completed
            self.validated = [*getattr(self, "validated", []), (self.global_step, batches)]

    class Saving(Callback):
        def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    options: dict[str, Any] = {"task": Counting, "val_check_interval": 2, "log_every_n_steps": 1}
    whole = trained(lean=True, callbacks=[Saving()], **options)[2].validated
    assert {batches for _, batches in whole} == {6}
    for step in (2, 4, 6):
        for lean in (False, True):
            *_, module = trained(lean=lean, ckpt_path=tmp_path / f"{step}.ckpt", **options)
            assert [each for each in whole if each[0] > step] == module.validated, (step, lean)


def test_a_step_that_asks_for_the_batch_alone_is_lightnings_to_take() -> None:
    class Alone(Classification):
        def training_step(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
            return super().training_step(batch, 0)

    (trainer, _, module), (*_, theirs) = (trained(lean=lean, task=Alone) for lean in (True, False))
    assert not is_plain(trainer)
    assert all(torch.equal(*each) for each in zip(module.parameters(), theirs.parameters(), strict=True))


def test_gradients_make_room_for_the_forward_pass() -> None:
    class Looking(Classification):
        gradients: set[bool]

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.gradients = getattr(self, "gradients", set()) | {p.grad is None for p in self.parameters()}
            return super().training_step(batch, batch_idx)

    (*_, ours), (*_, theirs) = (trained(lean=lean, task=Looking) for lean in (True, False))
    assert (ours.gradients, theirs.gradients) == ({True}, {True, False})


def test_data_hooks_are_called_where_they_are_written() -> None:
    class Doubled(Classification):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            x, y = batch
            return 2 * x, y

    (*_, theirs), (*_, ours), (*_, plain) = (
        trained(lean=lean, task=task) for lean, task in [(False, Doubled), (True, Doubled), (True, Classification)]
    )
    weights = [next(each.parameters()).detach().numpy() for each in (theirs, ours, plain)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])


@pytest.mark.parametrize(
    ("bar", "kind"), [(None, torch.Tensor), (RichProgressBar, torch.Tensor), (TQDMProgressBar, float)]
)
def test_numbers_for_the_progress_bar_stay_on_the_device_until_it_reads_them(bar: Any, kind: type) -> None:
    found = []

    class Looking(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            found.append(trainer.progress_bar_metrics.get("train/loss"))

    bars = {"callbacks": [bar(), Looking()], "enable_progress_bar": True} if bar else {"callbacks": [Looking()]}
    trained(lean=True, **bars)
    assert any(found)
    assert all(isinstance(each, kind) for each in found if each is not None)


class Stream(IterableDataset):
    """Examples whose number nobody knows."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from zip(torch.arange(20.0).view(5, 4), torch.tensor([0, 1, 2, 0, 1]), strict=True)


@pytest.mark.parametrize("kind", ["of known length", "of unknown length", "several at once"])
def test_all_kinds_of_loaders_give_every_batch(kind: str) -> None:
    class Noting(Classification):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            first = batch["a"] if isinstance(batch, dict) else batch
            numbers.append(float(first[0].sum()))
            return super().training_step(first, batch_idx)

    known = TensorDataset(torch.arange(28.0).view(7, 4), torch.zeros(7, dtype=torch.long))
    loader: Any = DataLoader(Stream() if kind == "of unknown length" else known, batch_size=2)
    if kind == "several at once":
        loader = {"a": loader, "b": DataLoader(known, batch_size=3)}
    seen = []
    for lean in (False, True):
        numbers: list[float] = []
        trainer = Trainer(**QUIET)
        if lean:
            make_lean(trainer)
        trainer.fit(Noting(nn.Linear(4, 3), classes=3, optimizer=torch.optim.SGD), loader)
        seen.append((numbers, trainer.global_step, trainer.current_epoch))
    assert seen[0] == seen[1]
    assert len(set(seen[0][0])) == (3 if kind == "of unknown length" else 4)


@pytest.mark.parametrize("steps", [None, 2])
def test_checkpoints_by_steps_are_written_between_epochs(tmp_path: Path, steps: int | None) -> None:
    kept = BestCheckpoints(monitor="train/loss", mode="min", dirpath=tmp_path, every_n_train_steps=steps, save_top_k=-1)
    trained(lean=True, callbacks=[kept], enable_checkpointing=True, log_every_n_steps=1)
    assert len(list(tmp_path.glob("*step*.ckpt"))) == (6 if steps else 2)
