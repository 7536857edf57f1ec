"""The arithmetic of a forward pass is counted right, and counting changes nothing."""

import pytest
import torch
from torch import nn

from lantu.cost import work
from lantu.cost.work import forward_flops, latency_ms, peak_flops, tokens_in


def test_a_linear_layer_takes_two_operations_for_each_weight() -> None:
    assert forward_flops(nn.Linear(30, 7), torch.rand(1, 30)) == 2 * 30 * 7


def test_a_convolution_takes_two_operations_for_each_weight_and_place() -> None:
    net = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert forward_flops(net, torch.rand(1, 3, 10, 12)) == 2 * 3 * 8 * 9 * 10 * 12


def test_a_recurrent_layer_takes_two_operations_for_each_weight_and_token() -> None:
    net = nn.LSTM(16, 32, batch_first=True)
    assert forward_flops(net, torch.rand(1, 5, 16)) == 2 * 5 * (4 * 32 * 16 + 4 * 32 * 32)


def test_operations_are_counted_where_an_input_of_a_layer_is_a_view_of_a_weight() -> None:
    class Queries(nn.Module):  # as in Deformable DETR
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.layer = nn.Embedding(5, 6), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.layer(self.queries.weight.split(3, dim=1)[0])

    assert forward_flops(Queries(), torch.rand(1, 5, 2)) == 2 * 5 * 3 * 2


def test_counting_and_timing_leave_modes_statistics_and_random_numbers_as_they_were() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    net[2].eval()
    before, random = net[1].running_mean.clone(), torch.get_rng_state()
    forward_flops(net, torch.rand(1, 4, generator=torch.Generator().manual_seed(0)))
    assert latency_ms(net, torch.ones(1, 4)) > 0
    assert torch.equal(net[1].running_mean, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert (net[0].training, net[1].training, net[2].training) == (True, True, False)


def test_tokens_are_counted_in_token_numbers_only() -> None:
    assert tokens_in(torch.zeros(3, 5, dtype=torch.long)) == 15
    assert tokens_in(torch.zeros(3, 5)) == 0


def test_the_peak_of_a_processor_is_not_claimed() -> None:
    assert peak_flops(torch.device("cpu"), "32-true") is None


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 NVL", 835.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
    ],
)
def test_the_peak_of_a_gpu_counts_no_zeros_that_are_left_out(
    name: str, half: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)  # drivers call them so
    gpu = torch.device("cuda", 0)
    assert peak_flops(gpu, "bf16-mixed") == half
    assert peak_flops(gpu, "16-mixed") == half


@pytest.mark.parametrize(
    ("batch", "shape", "examples"),
    [
        ((torch.zeros(5, 3), torch.zeros(5)), (1, 3), 5),
        (([torch.zeros(3, 4, 6), torch.zeros(3, 8, 2)], [{}, {}]), (3, 4, 6), 2),
        (({"left": torch.zeros(7, 2), "right": torch.zeros(7, 4)}, torch.zeros(7)), (1, 2), 7),
        (torch.zeros(6, 2), (1, 2), 6),
    ],
)
def test_one_example_is_taken_out_of_tensors_lists_and_dictionaries(
    batch: object, shape: tuple[int, ...], examples: int
) -> None:
    one = work.one_example(batch)
    first = one[0] if isinstance(one, list) else next(iter(one.values())) if isinstance(one, dict) else one
    assert tuple(first.shape) == shape
    assert work.examples_in(batch) == examples


def test_what_is_no_batch_has_no_example_and_no_count() -> None:
    with pytest.raises(ValueError, match="inputs are a str"):
        work.one_example("text")
    assert work.examples_in(None) == 0
