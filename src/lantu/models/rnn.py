"""Recurrent networks: Elman network, LSTM and GRU, for texts, language modelling and time series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lantu.errors import UserError
from lantu.models.layers import check_between
from lantu.models.recurrent_layers import read_padded, unroll
from lantu.models.recurrent_state import RecurrentSlots, RecurrentState, State

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
POOLS = ("last", "mean", "max")


class RNN(nn.Module):
    """A recurrent network with one output per text or series, or one per token.

    Padding does not change the output. With `variational`, dropout is that of Gal and Ghahramani (2016): one mask per
    sequence, shared by all time steps.

    Args:
        vocab_size: number of distinct tokens; None: each step is `variables` numbers.
        outputs: classes or targets; the vocabulary size for language models.
        cell: rnn (Elman 1990, tanh), lstm (Hochreiter and Schmidhuber 1997) or gru (Cho et al. 2014).
        embedding: width of a token's vector.
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: also read backwards. Not for language models, which would see the tokens they predict.
        pool: how a text's states become its output: last (final states), mean or max (over time).
        dropout: on every layer's input and the last layer's output.
        variational: use one mask for all time steps; otherwise a new mask at each.
        recurrent_dropout: on the state between steps, with one mask per sequence. Steps then run one by one.
        word_dropout: probability that a word of the vocabulary is dropped from a whole sequence.
        mc_dropout: keep dropout on at test time, so that repeated predictions show the network's uncertainty.
        tied: share weights between the embedding and the last layer (Press and Wolf 2017); for language models.
        pad_id: the token that pads texts on the right; None without padding.
        per_token: one output per token.
        variables: numbers of each step of a series, in place of tokens; a linear layer embeds them.

    Shape: (N, L) int64, or (N, L, variables) float -> (N, outputs), or (N, L, outputs) per token.
    """

    sharded_as_one = ()  # `unroll` reads a layer's weights directly
    context = None  # no maximum length

    def __init__(
        self,
        vocab_size: int | None,
        outputs: int,
        *,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        pool: Literal["last", "mean", "max"] = "last",
        dropout: float = 0.0,
        variational: bool = True,
        recurrent_dropout: float = 0.0,
        word_dropout: float = 0.0,
        mc_dropout: bool = False,
        tied: bool = False,
        pad_id: int | None = None,
        per_token: bool = False,
        variables: int | None = None,
    ) -> None:
        super().__init__()
        shares = {"dropout": dropout, "recurrent_dropout": recurrent_dropout, "word_dropout": word_dropout}
        for name, share in shares.items():
            check_between(name, share, 0, 1)
        _check(cell, pool, layers, bidirectional=bidirectional, per_token=per_token)
        self.pool = pool
        self.dropout, self.recurrent_dropout, self.word_dropout = dropout, recurrent_dropout, word_dropout
        self.variational = variational
        self.mc_dropout = mc_dropout
        self.pad_id = pad_id
        self.per_token = per_token
        self.embedding = _embedding(vocab_size, variables, embedding, pad_id, word_dropout=word_dropout)
        directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            # one module per layer, because torch's own dropout between layers is not variational
            CELLS[cell](embedding if layer == 0 else directions * hidden, hidden, batch_first=True,
                        bidirectional=bidirectional)
            for layer in range(layers)
        )  # fmt: skip
        self.head = nn.Linear(directions * hidden, outputs)
        self._initialise()
        if tied:
            _check_tied(embedding, hidden, per_token=per_token and vocab_size is not None)
            self.head.weight = self.embedding.weight

    @property
    def drops(self) -> bool:
        """Whether dropout is active: in training, or always with `mc_dropout`."""
        return self.training or self.mc_dropout

    def forward(self, tokens: Tensor, cache: RecurrentState | RecurrentSlots | None = None) -> Tensor:
        """Return logits. With a cache, the tokens continue the cached sequence, and the cache gets the new state."""
        lengths = None if self.pad_id is None else _lengths(tokens, self.pad_id)
        x = self._embed(tokens)
        states: list[State] = []
        for number, layer in enumerate(self.layers):
            x, state = self._read(layer, self._drop(x), lengths, cache.states[number] if cache else None)
            states.append(state)
        if cache:
            cache.states = [*states]
        if not self.per_token:
            x = self._pooled(x, states[-1], lengths)
        return self.head(self._drop(x))

    def new_cache(self) -> RecurrentState:
        """Return the initial state for `forward`."""
        return RecurrentState(len(self.layers))

    def new_slots(self, rows: int) -> RecurrentSlots:
        """Return an empty cache of up to `rows` sequences of different lengths, for `forward` with a token of each."""
        return RecurrentSlots(len(self.layers))

    def _embed(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        if not (self.drops and self.word_dropout):
            return x
        assert isinstance(self.embedding, nn.Embedding)
        vocabulary = x.new_ones(len(tokens), self.embedding.num_embeddings)
        return x * F.dropout(vocabulary, self.word_dropout).gather(1, tokens)[..., None]

    def _drop(self, x: Tensor) -> Tensor:
        if not (self.drops and self.dropout):
            return x
        if self.variational and x.ndim == 3:
            return x * F.dropout(torch.ones_like(x[:, :1]), self.dropout)
        return F.dropout(x, self.dropout)

    def _read(self, layer: nn.Module, x: Tensor, lengths: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        """Return the states (N, L, directions × hidden) after every step, and the final ones."""
        assert isinstance(layer, nn.RNNBase)
        if self.drops and self.recurrent_dropout:
            return unroll(layer, x, lengths, state, dropout=self.recurrent_dropout)
        if lengths is None:
            return layer(x, state)
        if torch.compiler.is_exporting():
            return read_padded(layer, x, lengths)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, state = layer(packed, state)
        return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0], state

    def _pooled(self, x: Tensor, state: State, lengths: Tensor | None) -> Tensor:
        if self.pool == "last":
            hidden = state[0] if isinstance(state, tuple) else state
            return hidden.transpose(0, 1).flatten(1)
        if lengths is None:
            return x.mean(dim=1) if self.pool == "mean" else x.amax(dim=1)
        there = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        if self.pool == "mean":
            return x.masked_fill(~there, 0).sum(dim=1) / lengths[:, None]
        return x.masked_fill(~there, -torch.inf).amax(dim=1)

    @torch.no_grad()
    def _initialise(self) -> None:
        if isinstance(self.embedding, nn.Embedding):
            nn.init.normal_(self.embedding.weight, std=0.1)
        if self.pad_id is not None:
            self.embedding.weight[self.pad_id] = 0
        for layer in self.layers:
            if isinstance(layer, nn.LSTM):  # forget-gate bias of 1 (Jozefowicz et al. 2015)
                for name, bias in layer.named_parameters():
                    if name.startswith("bias_ih"):
                        bias.chunk(4)[1].fill_(1.0)


def _lengths(tokens: Tensor, pad_id: int) -> Tensor:
    """Return the number of tokens (N,) up to the last that is not padding; at least 1, also for an empty text."""
    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    return (places * (tokens != pad_id)).amax(dim=1).clamp(min=1)


def _check(cell: str, pool: str, layers: int, *, bidirectional: bool, per_token: bool) -> None:
    if cell not in CELLS:
        raise UserError(f"`model.cell={cell}`: a recurrent network's cell is {', '.join(CELLS)}.")
    if pool not in POOLS:
        raise UserError(f"`model.pool={pool}`: states are pooled by {', '.join(POOLS)}.")
    if layers < 1:
        raise UserError(f"`model.layers={layers}`: a recurrent network has at least one layer.")
    if bidirectional and per_token:
        raise UserError(
            "`model.bidirectional=true`: reading from the end shows a language model the tokens that it should "
            "predict. Use `model.bidirectional=false`."
        )


def _embedding(
    vocab_size: int | None, variables: int | None, width: int, pad_id: int | None, *, word_dropout: float
) -> nn.Embedding | nn.Linear:
    if vocab_size is not None:
        return nn.Embedding(vocab_size, width, padding_idx=pad_id)
    if variables is None:
        raise UserError("`model.vocab_size=null` needs `model.variables`: how many numbers each step of a series has.")
    if word_dropout:
        raise UserError(f"`model.word_dropout={word_dropout}`: a series has no words. Use `model.dropout`.")
    return nn.Linear(variables, width)


def _check_tied(embedding: int, hidden: int, *, per_token: bool) -> None:
    if not per_token:
        raise UserError("`model.tied=true` is for language models: here the answers are not tokens.")
    if embedding != hidden:
        raise UserError(
            f"`model.tied=true` needs states as wide as embeddings, but `model.hidden={hidden}` and "
            f"`model.embedding={embedding}`: set both to the same width."
        )
