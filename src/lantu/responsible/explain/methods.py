"""Attribution: how much each pixel, column or token adds to a score. The methods are captum's and shap's."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.transformer import Transformer, attention_mask
from lantu.responsible.explain.interpretable_inputs import Explained, Method

STEPS = 64
"""Points on the path of integrated gradients."""
MOST_BACKGROUND = 50
"""Rows that stand in for a column whose value is not given."""


def integrated_gradients(examples: Explained) -> Tensor:
    """Integrated gradients from a baseline that says nothing (Sundararajan et al. 2017)."""
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    options: dict[str, Any] = {"n_steps": STEPS, "internal_batch_size": 512}
    which = (examples.which,)
    if examples.kind != "text":
        found = IntegratedGradients(examples.scores).attribute(
            examples.x, examples.baseline, additional_forward_args=which, **options
        )
        return _grouped(found, examples)
    layer = _embedding(examples)
    assert layer is not None
    found = LayerIntegratedGradients(examples.scores, layer).attribute(
        examples.x, examples.baseline, additional_forward_args=which, **options
    )
    return found.sum(dim=-1)


def grad_cam(examples: Explained) -> Tensor:
    """Grad-CAM of the last convolution or of a named layer, enlarged to the picture (Selvaraju et al. 2017)."""
    from captum.attr import LayerAttribution, LayerGradCam

    layer = _named_layer(examples) or _last_convolution(examples.task.net)
    assert layer is not None
    found = LayerGradCam(examples.scores, layer).attribute(
        examples.x, additional_forward_args=(examples.which,), relu_attributions=True
    )
    size = (int(examples.x.shape[2]), int(examples.x.shape[3]))
    return LayerAttribution.interpolate(found, size, interpolate_mode="bilinear").flatten(1)


def occlusion(examples: Explained) -> Tensor:
    """What covering a patch of a picture, or taking one token or column away, takes from the score."""
    if examples.kind == "picture":
        from captum.attr import Occlusion

        channels, height, width = examples.x.shape[1:]
        patch = (channels, max(1, height // 7), max(1, width // 7))
        strides = (channels, max(1, patch[1] // 2), max(1, patch[2] // 2))
        with torch.no_grad():
            found = Occlusion(examples.scores).attribute(
                examples.x, patch, strides, baselines=examples.baseline, additional_forward_args=(examples.which,)
            )
        return _grouped(found, examples) / channels
    flat, blank, groups = examples.x.flatten(1), examples.baseline.flatten(1), examples.groups
    found = torch.zeros(len(flat), len(groups))
    with torch.no_grad():
        whole = examples.scores(examples.x, examples.which)
        for number, places in enumerate(groups):
            without = flat.clone()
            without[:, places] = blank[:, places]
            found[:, number] = whole - examples.scores(without.view_as(examples.x), examples.which)
    return found


def attention(examples: Explained) -> Tensor:
    """Attention rollout to the first token, from which transformers classify (Abnar and Zuidema 2020).

    It is the same for every class and never negative: it tells where the network looks, not for or against what.
    """
    net: Any = examples.task.net
    before = net.net.config._attn_implementation
    net.net.set_attn_implementation("eager")  # the only one that returns its weights
    try:
        with torch.no_grad():
            inputs = {"input_ids": examples.x, "attention_mask": attention_mask(examples.x, net.pad_id)}
            layers = net.net(**inputs, output_attentions=True).attentions
    finally:
        net.net.set_attn_implementation(before)
    length = examples.x.shape[1]
    found = torch.eye(length).expand(len(examples.x), -1, -1)
    for weights in layers:  # (N, heads, L, L)
        mixed = 0.5 * weights.float().mean(dim=1) + 0.5 * torch.eye(length)  # the other half passes by the attention
        found = mixed @ found
    return found[:, 0]


def shapley(examples: Explained) -> Tensor:
    """Shapley values of a table's columns, over random orders in pairs (shap's permutation explainer).

    A column whose value is not given takes it from one of the other rows, at most 50 of which are used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

    stack, groups = examples.x, examples.groups
    rows = np.arange(len(stack))[:, None].repeat(len(groups), axis=1).astype(float)
    background = rows[np.random.default_rng(0).permutation(len(stack))[:MOST_BACKGROUND]]
    found = torch.zeros(len(stack), len(groups))
    for number in range(len(stack)):

        def values(chosen: np.ndarray, number: int = number) -> np.ndarray:
            """Scores of rows put together: of each column the number of the row whose value it has."""
            mixed = torch.empty(len(chosen), stack.shape[1])
            for group, places in enumerate(groups):
                mixed[:, places] = stack[torch.from_numpy(chosen[:, group].astype(np.int64))][:, places]
            with torch.no_grad():
                return examples.scores(mixed, examples.which[number].expand(len(mixed))).numpy()

        masker = shap.maskers.Independent(background, max_samples=MOST_BACKGROUND)
        explainer = shap.explainers.Permutation(values, masker, seed=0)
        calls = max(10 * (2 * len(groups) + 1), 500)
        explanation = explainer(rows[number : number + 1], max_evals=calls, silent=True)
        found[number] = torch.from_numpy(np.asarray(explanation.values)[0].copy())
    return found


METHODS: dict[str, Method] = {
    "integrated_gradients": integrated_gradients,
    "grad_cam": grad_cam,
    "occlusion": occlusion,
    "shapley": shapley,
    "attention": attention,
}
FITTING = {
    "picture": ("integrated_gradients", "grad_cam", "occlusion"),
    "row": ("shapley", "integrated_gradients", "occlusion"),
    "text": ("integrated_gradients", "occlusion", "attention"),
}


def methods_for(examples: Explained, names: list[str] | None = None) -> list[str]:
    """The methods that fit the inputs and the network, or those that were asked for.

    Raises:
        UserError: one that was asked for does not fit, or a layer is named where none is used.
    """
    if examples.layer is not None and examples.kind != "picture":
        raise UserError(f"`layer={examples.layer}` is for pictures (grad_cam); these inputs are explained without one.")
    fitting = list(FITTING[examples.kind])
    if examples.kind == "text" and _embedding(examples) is None:
        fitting.remove("integrated_gradients")
    if examples.kind == "text" and not isinstance(examples.task.net, Transformer):
        fitting.remove("attention")
    if examples.kind == "picture" and (_named_layer(examples) or _last_convolution(examples.task.net)) is None:
        fitting.remove("grad_cam")
    for each in names or []:
        if each not in fitting:
            raise UserError(f"`methods=[{each}]` does not fit this model: there are {', '.join(fitting)}.")
    return names or fitting


def _grouped(found: Tensor, examples: Explained) -> Tensor:
    """Attributions (N, ...) of numbers as those of features (N, features): sums over a pixel's channels, a column."""
    flat = found.detach().flatten(1)
    return torch.stack([flat[:, places].sum(dim=1) for places in examples.groups], dim=1).float()


def _named_layer(examples: Explained) -> nn.Module | None:
    """The layer that was asked for by name; None: none was.

    Raises:
        UserError: the network has none of that name.
    """
    if examples.layer is None:
        return None
    layers = dict(examples.task.net.named_modules())
    if examples.layer not in layers:
        convolutions = [name for name, each in layers.items() if isinstance(each, nn.Conv2d)]
        raise UserError(f"`layer={examples.layer}`: the network has none. Its convolutions: {', '.join(convolutions)}.")
    return layers[examples.layer]


def _last_convolution(net: nn.Module) -> nn.Module | None:
    found = [each for each in net.modules() if isinstance(each, nn.Conv2d)]
    return found[-1] if found else None


def _embedding(examples: Explained) -> nn.Module | None:
    """The layer that gives each token its vector; None where several tokens share one."""
    size = examples.data.spec.get("vocab_size")
    fitting = (each for each in examples.task.net.modules() if isinstance(each, nn.Embedding))
    return next((each for each in fitting if size is None or each.num_embeddings >= size), None)
