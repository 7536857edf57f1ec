"""Several ranks share the examples: measuring counts each once; in training no two ranks take the same."""

import pytest
import torch

from lantu.data.batches import Examples, loader
from lantu.data.sampling import rank_batches


def batches_of(size: int, ranks: int, batch_size: int, *, training: bool) -> list[list[list[int]]]:
    """Each rank's batches of numbers 0 to size - 1, as its loader gives them."""
    numbers = Examples(torch.arange(size))
    found = []
    for rank in range(ranks):
        share = rank_batches(numbers, batch_size=batch_size, num_replicas=ranks, rank=rank, training=training)
        batches = loader(numbers, batch_size=batch_size, workers=0, batches=share)
        found.append([batch.tolist() for batch in batches])
        assert len(found[-1]) == len(batches)
    return found


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_measuring_takes_each_example_once_in_equally_many_batches_on_every_rank(ranks: int, batch_size: int) -> None:
    for size in (*range(ranks, 40), 127, 128, 129, 130):
        shares = batches_of(size, ranks, batch_size, training=False)
        assert sorted(number for share in shares for batch in share for number in batch) == list(range(size))
        assert len({len(share) for share in shares}) == 1
        assert all(0 < len(batch) <= max(2, batch_size) for share in shares for batch in share)


def test_fewer_examples_than_ranks_leave_no_rank_without_a_batch() -> None:
    assert batches_of(2, 3, 64, training=False) == [[[0]], [[1]], [[1]]]


def test_training_shares_the_examples_in_batches_of_equal_size_and_never_one() -> None:
    shares = batches_of(4 * 33, 4, 16, training=True)
    assert [[len(batch) for batch in share] for share in shares] == [[16, 16]] * 4  # a third would hold one
    taken = [number for share in shares for batch in share for number in batch]
    assert len(set(taken)) == len(taken)
    assert taken != sorted(taken)


def test_training_is_shuffled_anew_in_every_epoch_and_the_same_for_the_same_seed() -> None:
    orders = []
    for seed, epoch in ((1, 0), (1, 1), (1, 0), (2, 0)):
        numbers = Examples(torch.arange(64))
        share = rank_batches(numbers, batch_size=64, num_replicas=2, rank=1, training=True, seed=seed)
        share.sampler.set_epoch(epoch)
        orders.append(next(iter(share)))
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != orders[3]
