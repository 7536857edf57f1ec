"""Which parameters weight decay and penalties act on."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lantu.errors import UserError


def parameter_groups(
    module: nn.Module, weight_decay: float | None = None, *, decay: Literal["matrices", "all"] = "matrices"
) -> list[dict[str, Any]]:
    """Groups for an optimizer: what decays, and what does not. Frozen parameters are left out.

    Weight decay pulls matrices and convolutions (two dimensions and more, embeddings included, as nanoGPT does), not
    biases and the gains of norms, for which zero is no sensible place. Embeddings and the last layer get a group of
    their own that says `use_fallback`: Muon trains them with AdamW, other optimizers take no notice.

    Args:
        weight_decay: for the groups that decay; None leaves it to the optimizer's own option.
        decay: "matrices", or "all" to let everything decay.
    """
    if decay not in ("matrices", "all"):
        raise UserError(f"`decay={decay}`: weight decay acts on matrices or on all.")
    outer = {id(parameter) for parameter in _embeddings_and_head(module)}
    hidden: list[nn.Parameter] = []
    ends: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            kind = vectors if parameter.ndim < 2 else ends if id(parameter) in outer else hidden
            kind.append(parameter)
    decaying: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    groups = [
        {"params": hidden, **decaying},
        {"params": ends, **decaying, "use_fallback": True},
        {"params": vectors, **({"weight_decay": 0.0} if decay == "matrices" else decaying), "use_fallback": True},
    ]
    return [group for group in groups if group["params"]]


def l1_norm(module: nn.Module) -> Tensor:
    """The sum of absolute weights over matrices and convolutions (not biases and norms), a scalar with gradient."""
    weights = [weight for weight in module.parameters() if weight.requires_grad and weight.ndim >= 2]
    sums = [weight.abs().sum() for weight in weights]
    # a weight that is split over devices has the sum of its parts
    whole = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in sums]
    return torch.stack(whole).sum() if weights else torch.zeros(())


def _embeddings_and_head(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of embeddings, and of the layer that answers: ours and most of timm's call it `head`, others have
    timm's `get_classifier` or transformers' `get_output_embeddings`."""
    ends: list[nn.Module] = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    for each in module.modules():
        for name in ("get_classifier", "get_output_embeddings"):
            found = getattr(each, name, lambda: None)()
            if isinstance(found, nn.Module):
                ends.append(found)
        for name in ("head", "classifier", "score"):
            found = getattr(each, name, None)
            if isinstance(found, nn.Linear):
                ends.append(found)
    return [parameter for end in ends for parameter in end.parameters()]
