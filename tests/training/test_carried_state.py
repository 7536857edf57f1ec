"""Truncated back-propagation: the state is carried from batch to batch, exactly, and the gradient is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import lantu
from lantu.data.batches import loader
from lantu.data.text.contiguous import Streams
from lantu.errors import UserError
from lantu.models import GPT, RNN
from lantu.tasks import LanguageModeling

TOKENS = np.random.default_rng(0).integers(20, size=4 * 35 + 1)
EVERY_CELL = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])


def carrying(cell: str) -> LanguageModeling:
    torch.manual_seed(0)
    net = RNN(20, 20, cell=cell, embedding=8, hidden=12, layers=2, per_token=True)  # type: ignore[arg-type]
    task = LanguageModeling(net, bytes_per_token=1.0, context=10, carry=True)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(loader(Streams(TOKENS, 10, rows=4), batch_size=4, workers=0))


@EVERY_CELL
def test_windows_with_carried_state_are_one_pass_over_the_whole_streams(cell: str) -> None:
    task, parts = carrying(cell), batches()
    whole = task.net(torch.cat([x for x, _ in parts], dim=1))
    for stage in ("train", "val"):
        got = torch.cat([task.answer(x, stage=stage) for x, _ in parts], dim=1)
        torch.testing.assert_close(got, whole)


@EVERY_CELL
def test_the_gradient_is_that_of_the_window_alone_with_its_first_state_given(cell: str) -> None:
    task, ((x1, y1), (x2, y2), *_) = carrying(cell), batches()
    task.training_step((x1, y1), 0).backward()
    task.zero_grad()
    task.training_step((x2, y2), 1).backward()
    got = {name: parameter.grad.clone() for name, parameter in task.net.named_parameters()}
    task.zero_grad()
    state = task.net.new_cache()
    with torch.no_grad():
        task.net(x1, state)
    cross_entropy(task.net(x2, state).flatten(0, 1), y2.flatten()).backward()
    for name, parameter in task.net.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad)


def test_validation_has_a_state_of_its_own_and_epochs_begin_without_one() -> None:
    task, parts = carrying("lstm"), batches()
    x1, x2 = parts[0][0], parts[1][0]
    whole = task.net(torch.cat((x1, x2), dim=1))
    task.answer(x1, stage="train")
    task.on_validation_epoch_start()
    torch.testing.assert_close(task.answer(x1, stage="val"), whole[:, :10])
    torch.testing.assert_close(task.answer(x2, stage="train"), whole[:, 10:])
    task.on_validation_epoch_start()
    torch.testing.assert_close(task.answer(x1, stage="val"), whole[:, :10])
    task.on_train_epoch_start()
    torch.testing.assert_close(task.answer(x1, stage="train"), whole[:, :10])


def test_a_shorter_last_window_counts_by_its_tokens() -> None:
    task, parts = carrying("gru"), batches()
    assert parts[-1][0].shape == (4, 5)
    for number, batch in enumerate(parts):
        task.validation_step(batch, number)
    x, y = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    torch.testing.assert_close(task.mean_loss["val_"].compute(), task.loss(task.net(x), y, stage="val"))


def test_a_network_without_such_a_state_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"data\.contiguous=true.*model=lstm"):
        LanguageModeling(GPT(20, 8, width=16, layers=1, heads=2), bytes_per_token=1.0, context=8, carry=True)


def test_a_run_carries_its_state_by_one_override(train: Callable[..., lantu.Result], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    data = ("data=text_files", f"data.path={tmp_path}/t.txt", "data.contiguous=true", "data.context=16")
    small = ("model=lstm", "model.hidden=16", "data.batch_size=8", "trainer.max_epochs=2", "save_model=false")
    result = train(*data, *small, "trainer.enable_progress_bar=false", "logger.mlflow.ship=false")
    assert {"train/loss", "val/loss", "test/loss"} <= result.metrics.keys()
    assert isinstance(result.module, LanguageModeling)
    assert result.module.carry
