"""Attributions are right where they can be worked out by hand, and measuring tells good from worthless ones."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from lantu.cli.main import main
from lantu.errors import UserError
from lantu.models import Linear, Transformer
from lantu.responsible.explain import explanation_report
from lantu.responsible.explain.faithfulness import Faithfulness, faithfulness
from lantu.responsible.explain.interpretable_inputs import Explained, explained
from lantu.responsible.explain.methods import (
    attention,
    grad_cam,
    integrated_gradients,
    methods_for,
    occlusion,
    shapley,
)
from lantu.tasks import Classification

GROUPS = [("income", [0]), ("home", [1, 2]), ("age", [3]), ("size", [4, 5])]


def data(**more: Any) -> Any:
    return SimpleNamespace(
        spec={"pad_id": 0}, feature_groups=lambda: GROUPS, token_names=lambda t: list(map(str, t)), **more
    )


def linear_rows() -> tuple[Explained, Tensor]:
    """Rows of a linear classifier, and what each number adds to the explained score by hand."""
    torch.manual_seed(0)
    task = Classification(Linear(6, 3), classes=3).eval()
    examples = explained(task, data(), torch.randn(12, 6))
    weights = task.net.head.weight.detach()[examples.which]
    return examples, weights * examples.x


def of_columns(numbers: Tensor) -> Tensor:
    return torch.stack([numbers[:, places].sum(dim=1) for _, places in GROUPS], dim=1)


def test_of_a_linear_model_gradients_and_occlusion_give_weight_times_value() -> None:
    examples, by_hand = linear_rows()
    assert torch.allclose(integrated_gradients(examples), of_columns(by_hand), atol=1e-5)
    assert torch.allclose(occlusion(examples), of_columns(by_hand), atol=1e-5)


@pytest.mark.slow  # shap compiles for half a minute
def test_of_a_linear_model_shapley_values_are_weight_times_the_difference_from_the_mean_row() -> None:
    examples, _ = linear_rows()
    weights = examples.task.net.head.weight.detach()[examples.which]
    against_the_mean = of_columns(weights * (examples.x - examples.x.mean(dim=0)))
    assert torch.allclose(shapley(examples), against_the_mean, atol=1e-4)


class Bag(nn.Module):
    """The sum of the vectors of a text's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens).sum(dim=1)


def test_of_a_bag_of_words_a_token_adds_its_own_vector() -> None:
    torch.manual_seed(0)
    task = Classification(Bag(), classes=3).eval()
    x = torch.tensor([[3, 7, 9, 0], [5, 5, 2, 1]])
    examples = explained(task, data(), x)
    vectors = task.net.embedding.weight.detach()
    by_hand = (vectors[x] - vectors[0]).gather(2, examples.which[:, None, None].expand(2, 4, 1))[..., 0]
    assert torch.allclose(integrated_gradients(examples), by_hand, atol=1e-5)
    assert torch.allclose(occlusion(examples), by_hand, atol=1e-5)
    assert examples.there(0).tolist() == [True, True, True, False]


def test_attention_is_rolled_out_to_the_token_that_is_classified_from_and_skips_padding() -> None:
    torch.manual_seed(0)
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
              "intermediate_size": 16}  # fmt: skip
    net = Transformer(20, 3, max_length=5, pad_id=0, config=config).eval()
    x = torch.tensor([[3, 7, 9, 11, 0], [5, 5, 2, 1, 4]])
    examples = explained(Classification(net, classes=3).eval(), data(), x)
    assert methods_for(examples) == ["integrated_gradients", "occlusion", "attention"]
    found = attention(examples)
    assert net.net.config._attn_implementation != "eager"  # as it was
    assert found[0, 4] == 0
    assert torch.allclose(found.sum(dim=1), torch.ones(2))
    net.net.set_attn_implementation("eager")
    one, two = (
        0.5 * each.mean(dim=1) + 0.5 * torch.eye(5)
        for each in net.net(input_ids=x[1:], output_attentions=True).attentions
    )
    assert torch.allclose(found[1], (two @ one)[0, 0], atol=1e-6)
    assert faithfulness(examples, found, attention).randomised is None  # fewer than 8 tokens


def pictures() -> Explained:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return explained(Classification(net, classes=2).eval(), data(), torch.randn(3, 1, 8, 8))


def test_grad_cam_is_the_positive_part_of_the_maps_weighted_with_their_mean_gradients() -> None:
    examples = pictures()
    net: Any = examples.task.net
    maps = net[0](examples.x).detach().requires_grad_()
    scores = net[1:](maps).gather(1, examples.which[:, None]).sum()
    (gradient,) = torch.autograd.grad(scores, maps)
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu().detach()
    assert torch.allclose(grad_cam(examples), by_hand.flatten(1), atol=1e-6)
    assert torch.equal(grad_cam(replace(examples, layer="0")), grad_cam(examples))
    with pytest.raises(UserError, match=r"`layer=7`: the network has none. Its convolutions: 0\."):
        grad_cam(replace(examples, layer="7"))
    with pytest.raises(UserError, match=r"`layer=0` is for pictures"):
        methods_for(replace(examples, layer="0", kind="row"))


def test_measuring_tells_a_true_attribution_from_one_that_explains_nothing() -> None:
    examples, by_hand = linear_rows()
    true = faithfulness(examples, of_columns(by_hand), integrated_gradients)
    assert true.interval[0] > 0
    assert true.deletion.mean() < true.insertion.mean()
    opposite = faithfulness(examples, -of_columns(by_hand))
    assert opposite.interval[1] < 0
    assert "explains nothing" in opposite.warnings[0]
    nothing = faithfulness(examples, torch.zeros(12, 4))
    assert nothing.interval[0] <= 0
    assert any("explains nothing" in each for each in nothing.warnings)


def test_a_gain_whose_interval_contains_0_is_said_to_be_open_and_not_to_be_nothing() -> None:
    def said(*gains: float) -> str:
        ends, nothing = np.zeros(len(gains)), np.zeros((4, 21))
        return "; ".join(Faithfulness(ends, ends, np.array(gains), nothing, None).warnings)

    assert "not told from a random order by 4 examples: the 95% interval of its gain, -0.05 to 0.3" in said(
        *(-0.05, 0.3, 0.3, -0.05)
    )
    assert "no more than deleting at random" not in said(-0.05, 0.3, 0.3, -0.05)
    assert said(-0.1, -0.2, -0.1).startswith("explains nothing that can be measured")
    assert said(0.1, 0.2, 0.1) == ""


def test_an_attribution_that_does_not_look_at_the_weights_is_found_by_random_ones() -> None:
    examples = pictures()

    def edges(these: Explained) -> Tensor:
        return these.x.flatten(1).abs()

    assert faithfulness(examples, edges(examples), edges).randomised == pytest.approx(1)
    assert any("random weights" in each for each in faithfulness(examples, edges(examples), edges).warnings)
    before = [each.clone() for each in examples.task.net.parameters()]
    faithfulness(examples, integrated_gradients(examples), integrated_gradients)
    assert all(map(torch.equal, before, examples.task.net.parameters()))  # the model itself is left alone


def test_pictures_get_a_page_a_file_each_and_every_pixel_in_the_table(tmp_path: Path) -> None:
    examples = pictures()
    found = explanation_report.explain(examples, ["occlusion", "grad_cam"])
    files = explanation_report.write(tmp_path, examples, found, title="<b>Why</b>")
    assert {each.name for each in files} >= {"index.html", "attributions.parquet", "example_0.png", "example_2.png"}
    table = pd.read_parquet(tmp_path / "attributions.parquet")
    assert len(table) == 3 * 2 * 64
    assert "<b>" not in (tmp_path / "index.html").read_text()


def test_a_method_that_does_not_fit_is_refused_with_those_that_do() -> None:
    examples, _ = linear_rows()
    with pytest.raises(UserError, match="there are shapley, integrated_gradients, occlusion"):
        methods_for(examples, ["grad_cam"])
    with pytest.raises(UserError, match="inputs of another form"):
        explained(examples.task, data(), [1, 2])


def test_explanations_are_of_the_columns_that_made_the_label(table_run: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    pd.read_csv(table_run.parents[2] / "applicants.csv").head(8).to_csv(rows, index=False)
    arguments = [f"run={table_run}", f"input={rows}", f"output={tmp_path}/out", "methods=[integrated_gradients]"]
    assert main(["explain", *arguments, f"paths.root={tmp_path}"]) == 0
    table = pd.read_parquet(tmp_path / "out" / "attributions.parquet")
    assert set(table.feature) == {"income", "age", "home"}
    assert table.groupby("feature").attribution.std()["income"] > 0.1
    assert main(["explain", f"run={table_run}", f"input={rows}", "methods=[grad_cam]", f"paths.root={tmp_path}"]) == 2


def test_a_run_with_the_callback_keeps_its_explanations_and_their_figures(table_run: Path) -> None:
    assert (table_run / "explanations" / "index.html").is_file()
    assert "explain/integrated_gradients_gain" in (table_run / "journal" / "records.jsonl").read_text()


def test_one_example_is_measured_with_an_interval_that_says_nothing() -> None:
    examples, by_hand = linear_rows()
    one = replace(examples, x=examples.x[:1], which=examples.which[:1], shown=examples.shown[:1])
    assert faithfulness(one, of_columns(by_hand)[:1]).interval == (float("-inf"), float("inf"))
