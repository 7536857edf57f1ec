"""Outputs of a stage are joined whatever they hold, and never fill the memory."""

import numpy as np
import torch

from lantu.tasks.outputs import Collector, bytes_of, join, to_host


def test_tensors_arrays_lists_and_dictionaries_are_joined_in_the_order_of_the_batches() -> None:
    batches = [
        {"row": [number], "output": torch.full((1, 2), float(number)), "array": np.array([number]),
         "y": [{"box": torch.zeros(number, 4)}], "parts": {"logit": torch.tensor([number])}}
        for number in range(3)
    ]  # fmt: skip
    found = join(batches)
    assert found["row"] == [0, 1, 2]
    assert found["output"].shape == (3, 2)
    assert found["array"].tolist() == [0, 1, 2]
    assert [len(each["box"]) for each in found["y"]] == [0, 1, 2]
    assert found["parts"]["logit"].tolist() == [0, 1, 2]


def test_rows_of_different_lengths_become_a_list() -> None:
    found = join([{"tokens": torch.zeros(2, 3)}, {"tokens": torch.ones(1, 5)}])
    assert [len(each) for each in found["tokens"]] == [3, 3, 5]


def test_what_is_kept_is_detached_and_on_the_host_at_any_depth() -> None:
    weight = torch.ones(2, requires_grad=True)
    kept = to_host({"y": [{"box": weight * 2}], "name": "a"})
    assert not kept["y"][0]["box"].requires_grad
    assert kept["name"] == "a"
    assert bytes_of(kept) == 8 + 1


def test_a_stage_that_is_too_large_is_kept_up_to_the_limit_and_the_rest_is_counted() -> None:
    collector = Collector(limit=100)
    for _ in range(10):
        collector.add({"output": torch.zeros(4, 10)})  # 160 bytes
    assert len(collector.joined()["output"]) == 4
    assert collector.left_out == 36
    collector.clear()
    assert not collector
    assert collector.left_out == 0
