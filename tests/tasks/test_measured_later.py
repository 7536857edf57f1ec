"""Training batches are counted some at a time, and no number tells."""

import pytest
import torch
from torch import nn

from lantu.tasks import Classification, metric_state
from lantu.tasks.task_metrics import MEASURED_AT_ONCE, MOST_KEPT


def batches(number, outputs=3):
    torch.manual_seed(0)
    return [(torch.randn(5, 4), torch.randint(outputs, (5,))) for _ in range(number)]


def fed(task, number):
    torch.manual_seed(1)
    for batch_idx, batch in enumerate(batches(number)):
        task.training_step(batch, batch_idx)
    return task


def make():
    torch.manual_seed(2)
    return Classification(nn.Linear(4, 3), classes=3)


@pytest.mark.parametrize("number", [1, MEASURED_AT_ONCE, MEASURED_AT_ONCE + 3])
def test_every_bit_is_that_of_counting_at_once(number):
    later, at_once = make(), make()
    at_once._measure_later = lambda output, y, loss: at_once.measure(output.detach(), y, loss.detach(), stage="train")
    found, expected = metric_state.collect(fed(later, number)), metric_state.collect(fed(at_once, number))
    assert found.keys() == expected.keys() == {"metrics.train_.accuracy", "mean_loss.train_"}
    for name, sums in expected.items():
        assert found[name]["updates"] == sums["updates"] == number
        assert all(torch.equal(found[name]["state"][key], value) for key, value in sums["state"].items())


def test_large_outputs_are_not_kept():
    task = make()
    output, y = torch.zeros(MOST_KEPT // 2 + 1, 3), torch.zeros(MOST_KEPT // 2 + 1, dtype=torch.long)
    task._measure_later(output, y, torch.tensor(1.0))
    assert not task._unmeasured
    task._measure_later(output[:5], y[:5], torch.tensor(1.0))
    assert len(task._unmeasured) == 1


def test_what_is_kept_holds_no_graph():
    task = fed(make(), 3)
    assert not any(each.requires_grad for kept in task._unmeasured for each in kept)
