"""Networks from the transformers library, new or pretrained, with Lantu's input and output shapes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError


class _Transformer(nn.Module):
    """Base class: the library's network in `net`, the config to rebuild it, and a forward pass that returns logits."""

    net: Any
    pad_id: int | None

    @property
    def form(self) -> dict[str, Any]:
        """The `config` that rebuilds this architecture without the pretrained weights."""
        return form_of(self.net)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net(input_ids=tokens, attention_mask=attention_mask(tokens, self.pad_id)).logits


class Transformer(_Transformer):
    """Any sequence classifier of transformers; padding is masked.

    Args:
        vocab_size: of the data.
        outputs: classes or targets.
        max_length: of a text, in tokens.
        pad_id: the token that pads texts on the right.
        pretrained: a folder or a name on the Hugging Face hub; None: new weights of the architecture in `config`.
        config: without `pretrained`: `model_type` (bert, distilbert, roberta, electra, ...) and its own options.

    Shape: (N, L) int64, L at most `max_length` -> (N, outputs).

    Raises:
        UserError: no such type, or the weights do not fit the data.
    """

    def __init__(
        self,
        vocab_size: int,
        outputs: int,
        *,
        max_length: int,
        pad_id: int,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.net = transformer(
            "AutoModelForSequenceClassification", vocab_size=vocab_size, places=max_length, pad_id=pad_id,
            pretrained=pretrained, config=config, num_labels=outputs,
        )  # fmt: skip


class MaskedTransformer(_Transformer):
    """Any masked language model of transformers, for pre-training; padding is masked.

    Args:
        vocab_size: of the data.
        places: maximum tokens of a row.
        pad_id: the token that pads texts on the right; None: rows have no padding.
        pretrained, config: as in `Transformer`.

    Shape: (N, T) int64, T at most `places` -> (N, T, vocab_size).

    Raises:
        UserError: no such type, or the weights do not fit the data.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        places: int,
        pad_id: int | None = None,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.net = transformer(
            "AutoModelForMaskedLM", vocab_size=vocab_size, places=places, pad_id=pad_id,
            pretrained=pretrained, config=config,
        )  # fmt: skip


class ReadingTransformer(_Transformer):
    """Any extractive question-answering model of transformers.

    Args:
        vocab_size, max_length, pad_id, pretrained, config: as in `Transformer`.

    Shape: (N, 2, L) int64, tokens and their segments (0 question, 1 context, 2 padding, 3 the last separator) -> (N, 2,
    L), logits of the answer's first and last token. Logits outside the context are set to -1e4, except at position 0,
    which stands for "no answer in this window".

    Raises:
        UserError: no such type, or the weights do not fit the data.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        max_length: int,
        pad_id: int,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net = transformer(
            "AutoModelForQuestionAnswering", vocab_size=vocab_size, places=max_length, pad_id=pad_id,
            pretrained=pretrained, config=config,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        tokens, belongs = x[:, 0], x[:, 1]
        given: dict[str, Any] = {"input_ids": tokens, "attention_mask": (belongs != 2).long()}
        if getattr(self.net.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = (belongs % 2).long()
        answer = self.net(**given)
        possible = belongs == 1
        possible[:, 0] = True
        return torch.stack([answer.start_logits, answer.end_logits], dim=1).masked_fill(~possible[:, None], -1e4)


def transformer(
    auto: str,
    *,
    vocab_size: int,
    places: int,
    pad_id: int | None,
    pretrained: str | None,
    config: Mapping[str, Any] | None,
    **options: Any,
) -> nn.Module:
    """Build a transformers model that fits the data.

    Args:
        auto: the class that chooses the architecture, such as AutoModelForMaskedLM.
        options: further config options, such as num_labels.

    Raises:
        UserError: no such type, or the weights do not fit the data.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # for reading and writing weights, which takes a moment
    head = getattr(transformers, auto)
    if pretrained is not None:
        net = head.from_pretrained(pretrained, **options)
        _check_fits(net.config, pretrained, vocab_size=vocab_size, places=places, pad_id=pad_id)
        return net.train()  # from_pretrained returns it in eval mode, without dropout
    overrides = dict(config or {})
    kind = overrides.pop("model_type", "bert")
    filled = pad_id or 0
    described = {
        "vocab_size": vocab_size,
        "pad_token_id": filled,
        "max_position_embeddings": places + filled + 1,  # RoBERTa counts positions from pad_id + 1
        **options,
        **overrides,
    }
    try:
        form = transformers.AutoConfig.for_model(kind, **described)
    except ValueError as error:
        raise UserError(f"`model.config.model_type={kind}`: transformers has no such type of model.") from error
    try:
        return head.from_config(form)
    except ValueError as error:
        if type(form) in head._model_mapping:  # so it is an option that does not fit
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UserError(f"`model.config`: transformers cannot build this {kind}: {reason}.") from error
        fitting = auto.removeprefix("AutoModelFor")
        raise UserError(f"`model.config.model_type={kind}`: transformers has no {fitting} of that type.") from error


def form_of(net: Any) -> dict[str, Any]:
    """Return the config of a transformers model as plain values, from which `transformer` rebuilds it."""
    return {name: value for name, value in net.config.to_diff_dict().items() if name not in _NO_FORM}


_NO_FORM = ("architectures", "id2label", "label2id", "dtype", "transformers_version", "_name_or_path")
"""Entries of a config that describe a model's origin, not its architecture."""


_COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text")
"""Models whose positions start after the padding token's id (Liu et al. 2019), so that the first ones are unused."""


def attention_mask(tokens: Tensor, pad_id: int | None) -> Tensor | None:
    """Return a mask (N, L) with 1 at text; None if there is no padding."""
    if pad_id is None:
        return None
    there = tokens != pad_id
    there[:, 0] = True  # attention over nothing is NaN, so an empty text keeps one token of padding
    return there.long()


def _check_fits(config: Any, pretrained: str, *, vocab_size: int, places: int, pad_id: int | None) -> None:
    if config.vocab_size != vocab_size:
        raise UserError(
            f"`model.pretrained={pretrained}` knows {config.vocab_size} tokens and the data have {vocab_size}: "
            f"tokenise them with its own tokenizer, `data.tokenizer={pretrained}`."
        )
    if pad_id is not None and config.pad_token_id not in (None, pad_id):
        raise UserError(
            f"`model.pretrained={pretrained}` is padded with token {config.pad_token_id} and the data with {pad_id}."
        )
    known = getattr(config, "max_position_embeddings", None)
    if known is not None and config.model_type in _COUNT_FROM_PADDING:
        known -= config.pad_token_id + 1
    if known is not None and places > known:
        raise UserError(
            f"`model.pretrained={pretrained}` has {known} places, and the longest of these texts takes {places}: add "
            f"`data.max_length={known}`, which cuts them there (`data.context={known}` of running text)."
        )
