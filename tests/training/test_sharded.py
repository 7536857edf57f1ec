"""Runs whose weights are split over two real processes: the same losses, and checkpoints that other runs read."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn

import lantu
from lantu.config.build import build
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.models import GPT, RNN
from lantu.models.sharding import units
from lantu.tasks import Classification
from lantu.training import Sharded
from tests.warm import run_warm

TWO = ("trainer.accelerator=cpu", "trainer.devices=2")
QUIET = (
    "trainer.enable_progress_bar=false", "logger=none", "save_model=false", "trainer.log_every_n_steps=1",
    "callbacks.figures=null",
)  # fmt: skip
IMAGES = ("data=digits", "model=cnn", *QUIET, *TWO)


def kinds(net: nn.Module) -> list[str]:
    return [type(each).__name__ for each in units(net)]


def test_a_network_says_which_parts_are_split_as_one() -> None:
    assert kinds(GPT(11, 8, width=16, layers=3, heads=2)) == ["Block"] * 3
    assert kinds(RNN(11, 4)) == []


def test_a_network_of_transformers_is_split_as_that_library_says() -> None:
    cfg = lantu.compose("model=bert", "data=trec").cfg
    cfg.spec = {"vocab_size": 20, "outputs": 3, "max_length": 8, "pad_id": 0}
    assert kinds(build(cfg.model)) == ["BertEmbeddings", "BertLayer", "BertLayer"]


def test_a_part_that_shares_a_weight_with_another_is_not_split_by_itself() -> None:
    first, last = nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 3)
    last.weight = first[0].weight
    assert kinds(nn.Sequential(first, nn.Sequential(nn.Linear(3, 3)), last)) == ["Sequential"]


def test_any_other_network_is_split_by_its_sequences() -> None:
    import timm

    assert kinds(timm.create_model("resnet18")) == ["BasicBlock"] * 8
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)))
    assert kinds(nn.ModuleDict({"body": body, "head": nn.Linear(2, 2)})) == ["Linear", "Sequential"]


def test_an_average_of_split_weights_is_refused() -> None:
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=Sharded(), callbacks=[EMAWeightAveraging()], logger=False,
        enable_checkpointing=False,
    )  # fmt: skip
    task = Classification(nn.Linear(2, 2), classes=2)
    task.trainer = trainer
    trainer.strategy.connect(task)
    with pytest.raises(UserError, match=r"callbacks.ema.*leaves no device with a whole one.*trainer=ddp"):
        trainer.strategy.setup_environment()


def test_split_weights_have_the_losses_of_whole_copies_and_a_checkpoint_that_anyone_reads(tmp_path: Path) -> None:
    asked = [*IMAGES, "trainer.max_steps=4", "trainer.gradient_clip_val=0.5", "task.l1=1e-4"]
    runs = {"whole": ["trainer=ddp", *asked], "split": ["trainer=fsdp", *asked]}
    whole, split = in_two_processes(tmp_path, runs)
    for name in ("train/loss", "train/loss_epoch", "val/loss", "val/auroc", "test/loss", "test/accuracy"):
        assert split[name] == pytest.approx(whole[name], rel=1e-5), name
    ranks = [json.loads((tmp_path / f"split.{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1], "each rank has recorded numbers of its own"
    weights, expected = (
        rebuild(tmp_path / name / "checkpoints/best.ckpt").task.net.state_dict() for name in ("split", "whole")
    )
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, msg=name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_with_split_weights_after_whole_copies_and_back(tmp_path: Path) -> None:
    runs = {}
    for optimizer in ("adamw", "sgd"):
        asked = [*IMAGES, f"optimizer={optimizer}", "test=false"]
        half, both = [*asked, "trainer.max_epochs=1"], [*asked, "trainer.max_epochs=2"]
        runs |= {
            f"whole-{optimizer}": ["trainer=ddp", *half],
            f"split-{optimizer}": ["trainer=fsdp", *half],
            f"there-{optimizer}": ["trainer=fsdp", *both, f"resume={tmp_path}/whole-{optimizer}"],
            f"back-{optimizer}": ["trainer=ddp", *both, f"resume={tmp_path}/split-{optimizer}"],
            f"straight-{optimizer}": ["trainer=ddp", *both],
        }
    measured = dict(zip(runs, in_two_processes(tmp_path, runs), strict=True))
    for optimizer in ("adamw", "sgd"):
        for name in ("train/loss_epoch", "val/loss"):
            straight = pytest.approx(measured[f"straight-{optimizer}"][name], rel=1e-4)
            assert measured[f"there-{optimizer}"][name] == straight, (optimizer, name)
            assert measured[f"back-{optimizer}"][name] == straight, (optimizer, name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_network_whose_last_layer_is_its_embedding_can_be_split(mirror: Path, tmp_path: Path) -> None:
    model = ["data=tiny_shakespeare", "model=gpt", "model.layers=2", "data.context=32", "task.sample_tokens=5"]
    short = ["trainer.max_steps=3", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"]
    asked = [*model, *QUIET, *TWO, *short, f"paths.mirror={mirror}"]
    whole, split = in_two_processes(tmp_path, {each: [f"trainer={each}", *asked] for each in ("ddp", "fsdp")})
    assert split["val/loss"] == pytest.approx(whole["val/loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to compile a network")
def test_split_weights_that_are_compiled_have_the_losses_of_plain_ones(tmp_path: Path) -> None:
    asked = ["data=digits", "model=mlp", *QUIET, *TWO, "trainer.max_steps=3", "test=false"]
    runs = {
        "plain": ["trainer=ddp", *asked],
        "compiled": ["trainer=ddp", "compile=true", *asked],
        "split": ["trainer=fsdp", "compile=true", *asked],
    }
    plain, compiled, split = in_two_processes(tmp_path, runs)
    for name in ("train/loss", "val/loss"):
        assert compiled[name] == pytest.approx(plain[name], rel=1e-3), name
        assert split[name] == pytest.approx(plain[name], rel=1e-3), name
    names = [torch.load(tmp_path / f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert names[0].keys() == names[1].keys() == names[2].keys()


def in_two_processes(folder: Path, runs: dict[str, list[str]]) -> list[dict[str, float]]:
    """Train each config over two ranks; returns what rank zero has measured of each."""
    script = Path(__file__).with_name("two_ranks.py")
    done = run_warm(
        [sys.executable, script, folder],
        input=json.dumps(runs),
        timeout=580,  # a busy machine starts the ranks minutes late
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{name}.0.json").read_text()) for name in runs]
