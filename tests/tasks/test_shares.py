"""A step learns the same from a batch however it is cut, also where its loss is not a mean over examples."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import lantu
from lantu.tasks.loss_weighting import Shares
from tests.training.test_sharded import in_two_processes

Train = Callable[..., lantu.Result]
QUIET = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "logger=none", "test=false",
    "trainer.enable_progress_bar=false", "save_model=false", "optimizer=sgd", "optimizer.lr=0.1",
)  # fmt: skip
CLASSES = ("data=breast_cancer", "model=mlp", "model.dropout=0", "task.class_weights=[1,9]", "task.l1=1e-3", *QUIET)
ANSWERS = ("data.vocab_size=300", "data.alike=null", "data.context=48", "model=gpt", "model.width=16", "model.layers=1",
           "model.heads=2", "model.dropout=0", *QUIET)  # fmt: skip


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Recipes by what their loss is a mean over."""
    answers = [f"{'many ' * (number % 4) ** 2}words" for number in range(120)]
    dialogues = pd.DataFrame({"question": [f"What of {number}?" for number in range(120)], "answer": answers})
    dialogues.to_csv(path := tmp_path_factory.mktemp("own") / "dialogues.csv", index=False)
    return {"class weights": CLASSES, "tokens": ("data=dialogues", f"data.path={path}", *ANSWERS)}


@pytest.mark.parametrize("kind", ["class weights", "tokens"])
def test_micro_batches_that_are_added_up_teach_what_the_whole_batch_does(
    kind: str, kinds: dict[str, tuple[str, ...]], train: Train
) -> None:
    clipped = "trainer.gradient_clip_val=0.1"
    whole = train(*kinds[kind], "data.batch_size=16", clipped)
    added_up = train(*kinds[kind], "data.batch_size=4", "trainer.accumulate_grad_batches=4", clipped)
    assert added_up.module.trainer.global_step == whole.module.trainer.global_step
    for name, weight in whole.module.net.state_dict().items():
        torch.testing.assert_close(added_up.module.net.state_dict()[name], weight, rtol=1e-3, atol=1e-5, msg=name)


def test_two_processes_learn_what_one_does(kinds: dict[str, tuple[str, ...]], train: Train, tmp_path: Path) -> None:
    cut = ["data.batch_size=10", "trainer.accumulate_grad_batches=2"]
    strategies = {"class weights": "trainer=ddp", "tokens": "trainer=fsdp"}
    asked = {kind: [*recipe, *cut, strategies[kind], "trainer.devices=2"] for kind, recipe in kinds.items()}
    for kind, together in zip(kinds, in_two_processes(tmp_path, asked), strict=True):
        alone = train(*kinds[kind], "data.batch_size=20")
        assert together["train/loss_epoch"] == pytest.approx(alone.metrics["train/loss_epoch"], rel=1e-4), kind
        assert together["val/loss"] == pytest.approx(alone.metrics["val/loss"], rel=1e-4), kind


def test_a_task_that_leaves_gradients_uncorrected_is_told_so_and_a_step_that_was_cut_short_is_forgotten() -> None:
    shares = Shares()
    for weight in (3.0, 1.0):
        shares.weight = torch.tensor(weight)
        shares.among_ranks(1)
    with pytest.raises(RuntimeError, match=r"super\(\)\.on_before_optimizer_step"):
        shares.begin(2)
    shares.begin(3)
    assert shares.noted == []
