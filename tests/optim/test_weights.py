"""Fine-tuning begins with the weights of a file."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from lantu.errors import UserError
from lantu.models import CNN, Upscale
from lantu.optim import load_weights, parameter_groups


def cnn(outputs: int = 10, channels: int = 3) -> CNN:
    return CNN(channels=channels, outputs=outputs, widths=[8, 16])


def same(first: nn.Module, second: nn.Module) -> set[str]:
    """The names of the weights that are equal in both."""
    ours, theirs = first.state_dict(), second.state_dict()
    return {name for name in ours if ours[name].shape == theirs[name].shape and torch.equal(ours[name], theirs[name])}


@pytest.mark.parametrize("kind", ["safetensors", "plain", "in a checkpoint", "of data parallel", "of a run"])
def test_every_weight_is_that_of_the_file(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = cnn()
    weights = source.state_dict()
    path = str(tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt"))
    if kind == "safetensors":
        save_file(weights, path)
    else:
        prefix = {"of data parallel": "module.", "of a run": "net."}.get(kind, "")
        weights = {f"{prefix}{name}": value for name, value in weights.items()}
        torch.save({"state_dict": weights, "epoch": 3} if kind != "plain" else weights, path)
    target = cnn()
    load_weights(target, path=path)
    assert same(source, target) == set(source.state_dict())


def test_timm_and_torchvision_weights_fit_their_networks_behind_our_wrapper(tmp_path: Path) -> None:
    for name, make in (
        ("timm", lambda classes: timm.create_model("resnet18", num_classes=classes)),
        ("torchvision", lambda classes: torchvision.models.resnet18(num_classes=classes)),
    ):
        source = make(1000)
        torch.save(source.state_dict(), tmp_path / f"{name}.pth")
        target = Upscale(net=make(10), min_size=32)
        load_weights(target, path=str(tmp_path / f"{name}.pth"))
        equal = {each.removeprefix("net.") for each in _equal_in(target, source)}
        assert set(source.state_dict()) - equal == {"fc.weight", "fc.bias"}


def _equal_in(target: nn.Module, source: nn.Module) -> set[str]:
    theirs = source.state_dict()
    return {
        name
        for name, value in target.state_dict().items()
        if (other := theirs.get(name.removeprefix("net."))) is not None
        and value.shape == other.shape
        and torch.equal(value, other)
    }


def test_colour_weights_are_summed_for_grey_pictures(tmp_path: Path) -> None:
    source, target = cnn(), cnn(channels=1)
    torch.save(source.state_dict(), tmp_path / "a.pt")
    load_weights(target, path=str(tmp_path / "a.pt"))
    source.eval()
    target.eval()
    grey = torch.rand(2, 1, 16, 16)
    assert torch.allclose(target(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-5)


def test_frozen_weights_get_no_gradient_and_the_new_layer_does(tmp_path: Path) -> None:
    torch.save(cnn(10).state_dict(), tmp_path / "a.pt")
    target = cnn(4)
    load_weights(target, path=str(tmp_path / "a.pt"), freeze=True)
    trained = {name for name, parameter in target.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in target.named_parameters() if parameter.shape[0] == 4}
    assert sum(len(group["params"]) for group in parameter_groups(target)) == len(trained)


def test_a_file_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(UserError, match="there is no such file"):
        load_weights(cnn(), path=str(path))
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a file of weights"):
        load_weights(cnn(), path=str(path))
    torch.save({"epoch": 3}, path)
    with pytest.raises(UserError, match="holds no weights"):
        load_weights(cnn(), path=str(path))
    torch.save(timm.create_model("resnet18").state_dict(), path)
    with pytest.raises(UserError, match="another architecture"):
        load_weights(cnn(), path=str(path))
    torch.save(cnn().state_dict(), path)
    with pytest.raises(UserError, match="leaves none to train"):
        load_weights(cnn(), path=str(path), freeze=True)
