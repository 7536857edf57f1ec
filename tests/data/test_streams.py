"""Streams: rows that go on where they left off."""

import numpy as np
import pytest
import torch

from lantu.data.batches import loader
from lantu.data.text.contiguous import Streams


@pytest.mark.parametrize(("length", "rows"), [(121, 4), (103, 4), (101, 3), (25, 1)])
def test_rows_go_on_where_they_left_off_and_every_token_is_predicted_once(length: int, rows: int) -> None:
    streams = Streams(np.arange(length), 10, rows=rows)
    batches = list(loader(streams, batch_size=streams.rows, workers=0))
    x, y = (torch.cat(parts, dim=1) for parts in zip(*batches, strict=True))
    assert torch.equal(y, x + 1)
    assert all(batch.shape == (rows, 10) for batch, _ in batches[:-1])
    assert torch.equal(x, torch.arange(rows * streams.length).view(rows, -1))
    assert length - 1 - y.numel() < rows


def test_a_short_text_has_fewer_streams() -> None:
    assert Streams(np.arange(25), 10, rows=8).rows == 2
