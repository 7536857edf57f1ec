"""A transformer of the transformers library that classifies texts."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lantu.errors import UserError


class Transformer(nn.Module):
    """Any of transformers' sequence classifiers, from scratch or from published weights; padding is masked.

    Args:
        vocab_size: of the data.
        outputs: classes or targets.
        max_length: of a text, in tokens.
        pad_id: fills texts up on the right.
        pretrained: a folder, or a name on the Hugging Face hub; None: new weights of the form that `config` says.
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
        from transformers import AutoConfig, AutoModelForSequenceClassification

        self.pad_id = pad_id
        options = dict(config or {})
        kind = options.pop("model_type", "bert")
        if pretrained is not None:
            self.net = AutoModelForSequenceClassification.from_pretrained(pretrained, num_labels=outputs)
            _check_fits(self.net.config, pretrained, vocab_size=vocab_size, max_length=max_length, pad_id=pad_id)
            return
        shape = {
            "vocab_size": vocab_size,
            "num_labels": outputs,
            "pad_token_id": pad_id,
            "max_position_embeddings": max_length + pad_id + 1,  # RoBERTa counts places from pad_id + 1
        }
        try:
            described = AutoConfig.for_model(kind, **shape, **options)
        except ValueError as error:
            raise UserError(f"`model.config.model_type={kind}`: transformers has no such type of model.") from error
        self.net = AutoModelForSequenceClassification.from_config(described)

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens != self.pad_id
        there[:, 0] = True  # attention over nothing is undefined: an empty text is one token of padding
        return self.net(input_ids=tokens, attention_mask=there.long()).logits


def _check_fits(config: Any, pretrained: str, *, vocab_size: int, max_length: int, pad_id: int) -> None:
    if config.vocab_size != vocab_size:
        raise UserError(
            f"`model.pretrained={pretrained}` knows {config.vocab_size} tokens and the data have {vocab_size}: "
            f"tokenise them with its own tokenizer, `data.tokenizer={pretrained}`."
        )
    if config.pad_token_id not in (None, pad_id):
        raise UserError(
            f"`model.pretrained={pretrained}` is padded with token {config.pad_token_id} and the data with {pad_id}."
        )
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and max_length > places:
        raise UserError(f"`data.max_length={max_length}`: `model.pretrained={pretrained}` has {places} places.")
