"""What makes a network faster changes neither its answers nor its checkpoints."""

import copy
import shutil
from collections.abc import Callable

import pytest
import torch
from torch import nn

import lantu
from lantu.cost.work import forward_flops
from lantu.errors import UserError
from lantu.models import CNN
from lantu.tasks import LanguageModeling
from lantu.training.loop.compile import compile_loss, speed_up

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to compile a network")
SHORT = ("trainer=cpu", "trainer.max_steps=3", "trainer.enable_progress_bar=false", "logger=none")


def test_images_with_their_channels_side_by_side_are_answered_alike() -> None:
    x, net = torch.randn(4, 3, 8, 8), CNN(3, 5).eval()
    expected, names = net(x), list(net.state_dict())
    speed_up(net, compiled=False, channels_last=True)
    torch.testing.assert_close(net(x), expected)
    assert list(net.state_dict()) == names
    assert net.body[3].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[operator, union-attr]


def test_a_run_takes_them_by_one_override(train: Callable[..., lantu.Result]) -> None:
    net = train("data=digits", "model=cnn", *SHORT, "channels_last=true").module.net
    assert net.body[3].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[operator, union-attr]


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU's code is made without the system's compiler")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"compile=true.* has no compiler .*apt install g\+\+"):
        speed_up(CNN(1, 2), compiled=True, channels_last=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@NEEDS_COMPILER
def test_a_compiled_loss_over_tokens_is_the_plain_one() -> None:
    y = torch.randint(50, (3, 8))
    y[0, :4] = -100  # not asked
    found = []
    for compiled in (False, True):
        task = LanguageModeling(nn.Embedding(50, 50), bytes_per_token=1.0, context=8, label_smoothing=0.1)
        output = torch.randn(3, 8, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
        if compiled:
            compile_loss(task)
            copy.deepcopy(task)  # as an average of the weights does
        loss = task.loss(output, y, stage="train")
        loss.backward()
        with torch.no_grad():
            found.append((loss.detach(), output.grad, task.loss(output, y, stage="val")))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
@NEEDS_COMPILER
def test_a_compiled_run_has_the_losses_and_the_checkpoint_of_a_plain_one(train: Callable[..., lantu.Result]) -> None:
    plain, compiled = (train("data=digits", "model=mlp", *SHORT, f"compile={on}") for on in ("false", "true"))
    assert compiled.metrics["val/loss"] == pytest.approx(plain.metrics["val/loss"], rel=1e-3)
    assert compiled.module.state_dict().keys() == plain.module.state_dict().keys()
    x = torch.zeros(1, 1, 8, 8)
    assert forward_flops(compiled.module.net, x) == forward_flops(plain.module.net, x)  # type: ignore[arg-type]
