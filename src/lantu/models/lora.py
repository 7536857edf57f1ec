"""Low-rank adaptation (LoRA) of a network, with the peft library."""

from typing import Any

from torch import nn

from lantu.errors import UserError

TASKS = {"ForSequenceClassification": "SEQ_CLS"}
"""peft's task types, by the end of the model's class name. peft then also trains the new head in full."""
HEADS = {"ForQuestionAnswering": ["qa_outputs"]}
"""New heads that are named here, because peft's wrapper for question answering drops `token_type_ids`."""


def lora(
    net: nn.Module,
    *,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    target_modules: list[str] | None = None,
) -> None:
    """Freeze a network in place and add trainable low-rank matrices to its layers (LoRA, Hu et al. 2022).

    Args:
        net: a network with a transformers model in `net`, or one that lists its layers in `adapted`, or any other if
            `target_modules` is given.
        rank: of the matrices.
        alpha: their output is scaled by alpha / rank.
        dropout: on their input.
        target_modules: names of layers, or suffixes of names; None: the attention layers known to peft or the network.

    Raises:
        UserError: peft is not installed, it does not know the architecture, or no layer has such a name.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            "`peft=lora` needs the peft library: `pip install peft`, or `pip install lantu[peft]`."
        ) from error
    within: Any = getattr(net, "net", None)
    known = hasattr(within, "save_pretrained")
    kind = type(net).__name__
    if rank < 1 or not 0 <= dropout < 1:
        raise UserError(f"`peft.rank={rank}` must be at least 1, and `peft.dropout={dropout}` lie in [0, 1).")
    if not known and target_modules is None:
        target_modules = list(getattr(net, "adapted", ())) or None
    if not known and target_modules is None:
        raise UserError(
            f"`peft=lora` finds the attention of transformers' models by itself, and {kind} is none: name the layers "
            f"with `peft.target_modules=[...]`; it has {_shown(net)}."
        )
    name = type(within).__name__ if known else ""
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,
        task_type=next((task for end, task in TASKS.items() if name.endswith(end)), None),
        modules_to_save=next((head for end, head in HEADS.items() if name.endswith(end)), None),
        fan_in_fan_out=any(type(layer).__name__ == "Conv1D" for layer in net.modules()),  # GPT-2's transposed layers
    )
    try:
        if known:
            net.net = peft.get_peft_model(within, config)
        else:
            peft.inject_adapter_in_model(config, net)
    except ValueError as error:  # raised by peft in both cases
        if target_modules is None:
            raise UserError(
                f"`peft=lora`: peft does not know which layers of `{within.config.model_type}` are its attention: name "
                f"them with `peft.target_modules=[...]`; it has {_shown(within)}."
            ) from error
        raise UserError(
            f"`peft.target_modules={target_modules}`: {kind} has no such layers that can be adapted "
            f"(linear ones can, and embeddings); it has {_shown(within if known else net)}."
        ) from error


def _shown(net: nn.Module) -> str:
    linear = [name.rpartition(".")[2] for name, layer in net.named_modules() if type(layer).__name__ in _LAYERS]
    return ", ".join(dict.fromkeys(linear)) or "no linear layers"


_LAYERS = ("Linear", "Conv1D", "NonDynamicallyQuantizableLinear")
