"""Which examples make up a batch: the same on any number of ranks, from any place in the epoch on."""

import pickle
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from lantu.data.batches import Examples, Windows, loader
from lantu.data.samplers import Chosen, EvenBatches, TrainingBatches
from lantu.data.splitting import SPLITS, completed, shares
from lantu.errors import UserError


def measured(size: int, ranks: int, batch_size: int) -> list[list[list[int]]]:
    """Each rank's batches of numbers 0 to size - 1, as its loader gives them."""
    numbers = Examples(torch.arange(size))
    found = []
    for rank in range(ranks):
        share = EvenBatches(size, batch_size=batch_size, num_replicas=ranks, rank=rank)
        batches = loader(numbers, batch_size=batch_size, workers=0, batches=share)
        found.append([batch.tolist() for batch in batches])
        assert len(found[-1]) == len(batches)
    return found


def trained(size: int, *, ranks: int = 1, rank: int = 0, epoch: int = 0, **options: int) -> list[list[int]]:
    batches = TrainingBatches(size, batch_size=16, num_replicas=ranks, rank=rank, epoch=epoch, **options)
    return [list(batch) for batch in batches]


def flat(batches: Iterable[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("share", [1, 2, 5, 64])
def test_measuring_takes_each_example_once_in_equally_many_batches_on_every_rank(ranks: int, share: int) -> None:
    for size in (*range(ranks, 40), 127, 128, 129, 130):
        shares = measured(size, ranks, share * ranks)
        assert sorted(number for share in shares for batch in share for number in batch) == list(range(size))
        assert len({len(each) for each in shares}) == 1
        assert all(0 < len(batch) <= max(2, share) for each in shares for batch in each)


def test_fewer_examples_than_ranks_leave_no_rank_without_a_batch_to_measure() -> None:
    assert measured(2, 3, 63) == [[[0]], [[1]], [[1]]]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [16, 80, 97, 111])
def test_the_shares_of_the_ranks_make_up_the_batch_that_one_rank_has(ranks: int, size: int) -> None:
    alone = trained(size)
    shares = [trained(size, ranks=ranks, rank=rank) for rank in range(ranks)]
    together = [flat(parts) for parts in zip(*shares, strict=True)]
    assert together == alone[: len(together)]
    assert len(alone) - len(together) <= 1  # a last batch too small for so many
    assert all(len(batch) > 1 for share in shares for batch in share)


def test_the_weights_of_the_ranks_make_the_mean_of_their_means_that_of_all() -> None:
    losses = np.random.default_rng(0).random(87)
    for ranks in (1, 2, 4):
        each = [TrainingBatches(87, batch_size=16, num_replicas=ranks, rank=rank) for rank in range(ranks)]
        for number, batch in enumerate(trained(87)[: len(each[0])]):
            shares = [list(batches)[number] for batches in each]
            means = [batches.weight(number) * losses[share].mean() for batches, share in zip(each, shares, strict=True)]
            assert np.mean(means) == pytest.approx(losses[batch].mean())


def test_an_epoch_takes_each_example_once_in_an_order_of_its_own() -> None:
    first, second = (flat(trained(80, epoch=epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(80))
    assert first != second
    assert first == flat(trained(80))
    assert first != flat(trained(80, seed=1))
    assert flat(trained(80, shuffle=False)) == list(range(80))


def test_an_epoch_that_begins_at_a_batch_goes_on_as_the_whole_one_and_the_next_is_whole() -> None:
    batches = TrainingBatches(80, batch_size=16, epoch=3, start=2)
    assert [list(batch) for batch in batches] == trained(80, epoch=3)[2:]
    assert len(batches) == 5
    batches.set_epoch(3)
    assert len(list(batches)) == 3
    batches.set_epoch(4)
    assert [list(batch) for batch in batches] == trained(80, epoch=4)


def test_a_batch_that_cannot_be_cut_evenly_is_refused_with_those_that_can() -> None:
    with pytest.raises(UserError, match=r"batch_size=64` .* 3 equal shares. `data.batch_size=63` or `.*=66` can"):
        TrainingBatches(100, batch_size=64, num_replicas=3)
    with pytest.raises(UserError, match=r"cannot be cut into 4 equal shares. `data.batch_size=4` can"):
        EvenBatches(100, batch_size=2, num_replicas=4)


@pytest.mark.parametrize("workers", [0, 2])
def test_random_stretches_hang_on_seed_epoch_and_index_alone(workers: int) -> None:
    windows = Windows(np.arange(1000), 10, shifting=True)

    def epoch(number: int, *, seed: int = 0) -> torch.Tensor:
        batches = TrainingBatches(len(windows), batch_size=8, seed=seed, epoch=number)
        return torch.cat([x for x, _ in loader(windows, batch_size=8, workers=workers, batches=batches)])

    first = epoch(1)
    before = torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(epoch(1), first)
    torch.set_rng_state(before)
    alone = pickle.loads(pickle.dumps(windows)).__getitems__(Chosen([42], seed=0, epoch=1))[0][0]
    assert (first == alone).all(dim=1).sum() == 1
    assert not torch.equal(epoch(2).sort(dim=0).values, first.sort(dim=0).values)
    assert not torch.equal(epoch(1, seed=3).sort(dim=0).values, first.sort(dim=0).values)


def test_passing_over_the_data_takes_nothing_from_the_random_numbers_of_the_run() -> None:
    numbers = Examples(torch.arange(40))
    before = torch.get_rng_state()
    for batches in (None, TrainingBatches(40, batch_size=8), EvenBatches(40, batch_size=8)):
        list(loader(numbers, batch_size=8, workers=0, batches=batches))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_source_without_parts_is_cut_into_eighty_ten_and_ten_percent_unless_asked() -> None:
    assert shares(None) == {"val": 0.1, "test": 0.1}
    assert shares({"test": 0.25}) == {"val": 0.1, "test": 0.25}
    split = completed(np.full(1000, "train"), shares(None), strata=np.zeros(1000, dtype=int), seed=0)
    assert {name: int((split == name).sum()) for name in SPLITS} == {"train": 800, "val": 100, "test": 100}
