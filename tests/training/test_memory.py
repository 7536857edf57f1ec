"""`trainer.memory`: a batch that does not fit is cut, and the result stays the same."""

import numpy as np
import pytest
import torch

import lantu
from lantu.cost.step_memory import StepMemory
from lantu.data.samplers import TrainingBatches
from lantu.errors import UserError
from lantu.training.memory.fit import choose

QUIET = (
    "callbacks=none", "logger=none", "trainer.enable_progress_bar=false", "test=false", "save_model=false",
    "trainer=cpu", "trainer.max_steps=4", "trainer.limit_val_batches=0",
)  # fmt: skip
MIB = 1 / 1024


@pytest.fixture(scope="module")
def trained(own_data, tmp_path_factory):
    """Trains a small GPT with so many MiB for a step; gives the result and what the run printed."""

    def train(*overrides):
        root = tmp_path_factory.mktemp("run")
        data = ["data=text_files", *own_data["text_files"], "data.context=64", "data.batch_size=16"]
        model = ["model=gpt", "model.width=32", "model.layers=3", "model.heads=2", "model.dropout=0"]
        return lantu.run(lantu.compose(*data, *model, *QUIET, f"paths.root={root}", *overrides))

    return train


@pytest.fixture(scope="module")
def whole(trained):
    return trained()


def weights(result):
    return torch.cat([each.detach().flatten() for each in result.module.net.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(("mib", "again"), [(4, False), (1, True)])
def test_a_batch_that_does_not_fit_is_cut_and_trains_the_same_weights(trained, whole, capsys, mib, again):
    fitted = trained(f"trainer.memory={mib * MIB}")
    cfg, said = fitted.cfg, capsys.readouterr().err
    assert cfg.data.batch_size * cfg.trainer.accumulate_grad_batches == 16
    assert (cfg.data.batch_size < 16, cfg.activation_checkpointing) == (True, again)
    assert f"trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}" in said
    assert ("activation_checkpointing=true" in said) == again
    torch.testing.assert_close(weights(fitted), weights(whole), rtol=1e-3, atol=1e-5)


def test_on_a_processor_auto_says_what_memory_it_assumes_and_changes_nothing_that_fits(tmp_path, capsys):
    trained = [
        lantu.run(lantu.compose("data=digits", "model=linear", *QUIET, f"paths.root={tmp_path}", *memory))
        for memory in ([], ["trainer.memory=auto"])
    ]
    said = capsys.readouterr().err
    assert "assumed: 75% of this machine's" in said
    assert "Nothing is changed" in said
    assert torch.equal(weights(trained[0]), weights(trained[1]))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model=cnn", "trainer.memory=0.001"], "batch norm"),
        (["model=mlp", "trainer.memory=0.00001"], "one example takes"),
        (["model=mlp", "trainer.memory=some"], "auto"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_figures(tmp_path, overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        lantu.run(lantu.compose("data=digits", *QUIET, f"paths.root={tmp_path}", *overrides))


def test_a_batch_whose_groups_are_compared_is_not_cut(tmp_path):
    rows = [f"{number},{'ab'[number % 2]},{'yn'[number % 3 == 0]}" for number in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["x,g,y", *rows]))
    table = ["data=csv", f"data.path={tmp_path}/t.csv", "data.target=y", "model=mlp", "trainer.memory=0.00001"]
    fair = ["fairness.group=[g]", "fairness.mitigation=constraint", f"paths.root={tmp_path}"]
    with pytest.raises(UserError, match=r"not cut, because `fairness\.mitigation=constraint`"):
        lantu.run(lantu.compose(*table, *QUIET, *fair))


def test_a_batch_is_cut_before_activations_are_computed_again():
    def memory(checkpointing):
        each = 1.0 if checkpointing else 10.0
        return StepMemory(10, 10, 20, tuple(each * examples for examples in (1, 8, 64)), 5)

    found = [
        choose(memory, limit / 0.9, examples=12, may_cut=True, may_checkpoint=True) for limit in (150, 90, 40.1, 39)
    ]
    assert [each and (each.parts, each.checkpointing) for each in found] == [(1, False), (2, False), (12, False), None]
    checkpointed = choose(memory, 50, examples=12, may_cut=False, may_checkpoint=True)
    assert checkpointed is not None
    assert (checkpointed.parts, checkpointed.checkpointing) == (1, True)


def test_cut_batches_have_the_same_examples_in_the_same_order():
    for size in (65, 70):  # a last batch of one example is left out, cut or not
        lengths = np.random.default_rng(0).integers(1, 100, size)
        plain = TrainingBatches(size, batch_size=16, lengths=lengths)
        cut = TrainingBatches(size, batch_size=4, lengths=lengths)
        cut.micro_batches = 4
        joined = [example for batch in cut for example in batch]
        assert joined == [example for batch in plain for example in batch]
        assert len(list(cut)) == len(cut)
