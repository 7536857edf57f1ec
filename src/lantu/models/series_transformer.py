"""Transformers for time series from the transformers library, with Lantu's input and output shapes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lantu.errors import UserError

KINDS = ("patchtst",)


class SeriesTransformer(nn.Module):
    """PatchTST: patches of each variable are tokens of a shared transformer (Nie et al. 2023), and a linear layer.

    Args:
        variables: numbers of each step.
        steps: of a window.
        outputs: numbers to forecast.
        config: `model_type: patchtst` and its options, in transformers' own words.
        dropout: on the transformer's states, before the last layer.

    Shape: (N, steps, variables) -> (N, outputs).

    Raises:
        UserError: another model type, or options that do not fit together.
    """

    def __init__(
        self, variables: int, steps: int, outputs: int, *, config: Mapping[str, Any], dropout: float = 0.0
    ) -> None:
        super().__init__()
        from transformers import PatchTSTConfig, PatchTSTModel

        options = dict(config)
        kind = options.pop("model_type", "patchtst")
        if kind not in KINDS:
            raise UserError(f"`model.config.model_type={kind}`: series are read by {', '.join(KINDS)}.")
        if options.get("patch_length", 1) > steps:
            raise UserError(
                f"`model.config.patch_length={options['patch_length']}` is longer than `data.context={steps}`."
            )
        try:
            # windows come standardised, so the library's own scaling is off
            form = PatchTSTConfig(num_input_channels=variables, context_length=steps, scaling=None, **options)
            self.net = PatchTSTModel(form)
        except (TypeError, ValueError) as error:
            raise UserError(f"`model.config` of patchtst: {str(error).splitlines()[0]}") from error
        patches = self.net.patchifier.num_patches
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(variables * patches * form.d_model, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states = self.net(past_values=x).last_hidden_state  # (N, variables, patches, d_model)
        return self.head(self.dropout(states.flatten(1)))
