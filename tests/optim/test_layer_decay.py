"""Learning rates by depth, and layers that do not learn."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, T5Config, T5ForConditionalGeneration

from lantu.errors import UserError
from lantu.models import CNN, MLP, Upscale
from lantu.optim import cosine, fine_tune
from lantu.optim.layer_decay import layer_numbers
from lantu.tasks.optimization import optimizer_config


def bert(layers: int = 3) -> nn.Module:
    return BertForSequenceClassification(
        BertConfig(hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, vocab_size=30)
    )


def rates(net: nn.Module, *, lr: float = 1.0) -> dict[str, float]:
    """The learning rate that an optimizer of the task gives each parameter; 0: it is not trained."""
    trainer: Any = SimpleNamespace(
        gradient_clip_val=None, precision="32-true", estimated_stepping_batches=10, max_steps=-1
    )
    factory = partial(torch.optim.AdamW, lr=lr)
    optimizer = optimizer_config(net, trainer, optimizer=factory, scheduler=partial(cosine))["optimizer"]
    found = {id(each): group["lr"] for group in optimizer.param_groups for each in group["params"]}
    return {name: found.get(id(each), 0.0) for name, each in net.named_parameters()}


def test_layers_of_torchvisions_resnet_are_those_that_timm_tells_of_its_own() -> None:
    ours = layer_numbers(torchvision.models.resnet18(num_classes=3))
    timms = layer_numbers(timm.create_model("resnet18", num_classes=3))
    assert ours == timms
    assert max(ours.values()) == 9


def test_each_layer_learns_at_the_share_of_its_depth() -> None:
    net = bert()
    fine_tune(net, layer_decay=0.5)
    found = rates(net, lr=2.0)
    assert found["bert.embeddings.word_embeddings.weight"] == 2 * 0.5**4
    assert found["bert.encoder.layer.0.output.dense.bias"] == 2 * 0.5**3
    assert found["bert.encoder.layer.2.attention.self.query.weight"] == 2 * 0.5
    assert found["classifier.weight"] == 2
    assert rates(bert(), lr=2.0) == dict.fromkeys(found, 2.0), "without it all layers learn alike"


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (CNN(1, 10, widths=[4, 8]), 5),
        (MLP(8, 2), 3),
        (Upscale(timm.create_model("resnet10t", num_classes=3), min_size=32), 6),
        (timm.create_model("vit_tiny_patch16_224", num_classes=3), 14),
        (torchvision.models.mobilenet_v3_small(num_classes=4), 14),
    ],
    ids=["cnn", "mlp", "behind a wrapper", "vit", "mobilenet"],
)
def test_depth_rises_from_input_to_output(net: nn.Module, layers: int) -> None:
    numbers = list(layer_numbers(net).values())
    assert numbers == sorted(numbers) or net.__class__.__name__ == "VisionTransformer"
    assert set(numbers) == set(range(layers))


def test_frozen_layers_stay_and_the_others_learn() -> None:
    net = bert()
    fine_tune(net, freeze_layers=2)
    found = rates(net)
    still = {name for name, rate in found.items() if not rate}
    assert still == {name for name in found if name.startswith(("bert.embeddings.", "bert.encoder.layer.0."))}


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (T5ForConditionalGeneration(T5Config(d_model=8, d_ff=16, num_layers=2, num_heads=1, d_kv=8, vocab_size=9)),
         "two side by side"),
        (nn.Linear(4, 2), "depth of Linear cannot be told"),
    ],
    ids=["encoder and decoder", "one layer"],
)  # fmt: skip
def test_a_network_whose_depth_cannot_be_told_is_refused(net: nn.Module, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fine_tune(net, layer_decay=0.5)


def test_a_number_of_layers_that_leaves_none_is_refused() -> None:
    with pytest.raises(UserError, match="of 5 layers the last one must learn"):
        fine_tune(bert(), freeze_layers=5)
