"""Face verification: margins by hand, error rates of known pairs, unseen people, gallery and probes."""

from math import acos, cos, exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import lantu
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.models.margin_head import MarginHead
from lantu.tasks.verification import Verification, contrastive_loss, moved
from lantu.tasks.verification_scores import (
    VerificationScores,
    interval_over_people,
    pairs_of,
    rank_one,
    rates,
    threshold_for_strangers,
)


def faces(folder: Path, *, people: int = 12, shots: int = 6) -> pd.DataFrame:
    """ "People" as patterns of their own, with noise and brightness that change with each shot."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for person in range(people):
        pattern = random.integers(40, 215, (4, 4)).repeat(6, axis=0).repeat(6, axis=1)
        for shot in range(shots):
            pixels = pattern + random.normal(0, 12, pattern.shape) + random.normal(0, 10)
            name = f"p{person:02d}_{shot}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append({"image": name, "person": f"p{person:02d}"})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "people.csv", index=False)
    return table


OPTIONS = (
    "data=orl_faces", "~data.source", "+data.source._target_=lantu.data.image_table", "+data.source._partial_=true",
    "model=cnn", "model.widths=[8,16]", "data.size=24", "task.embedding=16", "data.batch_size=24",
    "trainer.max_epochs=3", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "logger.mlflow.ship=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    root = tmp_path_factory.mktemp("faces")
    faces(root / "faces")
    table = f"+data.source.path={root}/faces/people.csv"
    return lantu.run(lantu.compose(f"paths.root={root}", *OPTIONS, table))


def test_arcface_is_the_cosine_of_the_angle_and_the_margin() -> None:
    head = MarginHead(2, 2, kind="arcface", margin=0.5, scale=10.0)
    head.weight.data = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # lengths do not matter
    x = torch.tensor([[0.6, 0.8]]) * 7
    angle = acos(0.6)  # to the first centre; the cosine to the second is 0.8
    logits = head(x, torch.tensor([0]))
    assert logits.tolist()[0] == pytest.approx([10 * cos(angle + 0.5), 8.0], abs=1e-4)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
    by_hand = -log(exp(10 * cos(angle + 0.5)) / (exp(10 * cos(angle + 0.5)) + exp(8.0)))
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)
    assert head(x).tolist()[0] == pytest.approx([6.0, 8.0], abs=1e-4), "without a class there is no margin"


def test_cosface_takes_the_margin_off_the_cosine_and_softmax_takes_none() -> None:
    for kind, expected in (("cosface", 10 * (0.6 - 0.2)), ("softmax", 6.0)):
        head = MarginHead(2, 2, kind=kind, margin=0.2, scale=10.0)
        head.weight.data = torch.eye(2)
        assert head(torch.tensor([[0.6, 0.8]]), torch.tensor([0]))[0, 0].item() == pytest.approx(expected, abs=1e-4)


def test_arcface_keeps_falling_where_the_angle_and_the_margin_pass_half_a_turn() -> None:
    head = MarginHead(2, 2, kind="arcface", margin=0.5, scale=1.0)
    head.weight.data = torch.eye(2)
    angles = torch.linspace(0, 3.1415, 200)
    logits = head(torch.stack([angles.cos(), angles.sin()], dim=1), torch.zeros(200, dtype=torch.long))[:, 0]
    assert (logits.diff() < 0).all()


def test_error_rates_of_known_pairs_are_known() -> None:
    same = np.array([True] * 10 + [False] * 1000)
    apart = np.concatenate([np.full(10, 0.9), np.linspace(-0.5, 0.5, 1000)])
    found = rates(apart, same)
    assert found["eer"][0] == 0
    assert found["tar_at_far_0.1pct"][0] == 1
    mixed = np.concatenate([np.linspace(0, 1, 10), np.linspace(0, 1, 1000)])
    assert rates(mixed, same)["eer"][0] == pytest.approx(0.5, abs=0.06)
    # one pair of one person in ten lies below all pairs of two: a tenth is rejected wherever they are apart
    tenth = np.concatenate([[-0.9], np.full(9, 0.9), np.linspace(-0.5, 0.5, 1000)])
    assert rates(tenth, same)["eer"][0] == pytest.approx(0.1, abs=0.01)
    assert rates(tenth, same)["tar_at_far_1pct"][0] == pytest.approx(0.9)
    assert "tar_at_far_1pct" not in rates(mixed[:60], same[:60]), "50 pairs of two cannot tell one in a hundred"


def test_the_threshold_is_that_of_the_pairs_of_all_ranks() -> None:
    torch.manual_seed(0)
    embeddings, people = torch.nn.functional.normalize(torch.randn(40, 4), dim=1), torch.arange(40) // 4
    states = iter((embeddings[20:], people[20:]))
    first = VerificationScores(
        distributed_available_fn=lambda: True, dist_sync_fn=lambda own, group: [own, next(states)]
    )  # the first of two ranks, each of which has half of the people
    first.update(embeddings[:20], people[:20])
    found = first.compute()
    cosine, same, _, _ = pairs_of(embeddings, people)
    assert float(found["eer"]) == pytest.approx(rates(cosine, same)["eer"][0])
    assert first.eer_threshold == pytest.approx(rates(cosine, same)["eer"][1])
    assert first.eer_threshold != pytest.approx(rates(*pairs_of(embeddings[:20], people[:20])[:2])["eer"][1])


def test_the_interval_is_over_people_and_holds_the_rate() -> None:
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(8, 5, generator=random)
    people = torch.arange(8).repeat_interleave(5)
    embeddings = centres[people] + 0.8 * torch.randn(40, 5, generator=random)
    low, high = interval_over_people(embeddings, people)
    cosine, same, _, _ = pairs_of(embeddings, people)
    assert low < rates(cosine, same)["eer"][0] < high
    assert len(cosine) == 40 * 39 / 2
    assert same.sum() == 8 * 10
    assert rank_one(centres[people], people) == 1


def test_strangers_are_accepted_as_seldom_as_asked_whatever_the_size_of_the_gallery() -> None:
    random = torch.Generator().manual_seed(0)

    def unit(*size: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*size, generator=random), dim=-1)

    thresholds = []
    for people in (10, 80):
        centres = unit(people, 24)
        person = torch.arange(people).repeat_interleave(800 // people)
        images = torch.nn.functional.normalize(centres[person] + 0.1 * torch.randn(800, 24, generator=random), dim=1)
        thresholds.append(threshold_for_strangers(images @ centres.T, person, rate=0.05))
        share = float(((unit(4000, 24) @ centres.T).amax(dim=1) >= thresholds[-1]).float().mean())
        assert share < 0.05 + 2 / people, people
    assert thresholds[1] > thresholds[0], "more people give a stranger more chances"
    similarity = torch.tensor([[0.9, 0.3, 0.1], [0.4, 0.8, 0.2], [0.2, 0.9, 0.5], [0.1, 0.2, 0.7]])
    for rate, accepted in ((0.0, 0), (0.34, 1), (0.67, 2)):
        threshold = threshold_for_strangers(similarity, torch.tensor([0, 1, 1, 2]), rate=rate)
        assert sum(each >= threshold for each in (0.3, 0.5, 0.2)) == accepted


def test_contrastive_loss_is_that_of_its_pairs() -> None:
    embedding = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]]), dim=1)
    y = torch.tensor([0, 0, 1])
    by_hand = ((1 - 0.6) ** 2 + (0.8 - 0.3) ** 2 + (0.96 - 0.3) ** 2) / 3
    assert contrastive_loss(embedding, y).item() == pytest.approx(by_hand, rel=1e-4)


def test_an_embedding_is_the_mean_over_moved_and_mirrored_images() -> None:
    x = torch.rand(2, 1, 20, 20)
    still = torch.ones(1, 1, 20, 20)
    assert all(torch.allclose(each, still) for each in moved(still, 0.1))
    left, right = moved(x, 0.1)[0], moved(x, 0.1)[2]
    assert len(moved(x, 0.1)) == 8
    assert not torch.allclose(left, right)
    shifted = torch.zeros(1, 1, 20, 20)
    shifted[..., 10, 10] = 1
    places = [divmod(int(each.argmax()), 20) for each in moved(shifted, 0.1)]
    assert {row > 10 for row, _ in places} == {column > 10 for _, column in places} == {True, False}
    task = Verification(
        nn.Flatten(), class_names=["a", "b"], class_counts=[1, 1], embedding=400, shift=0.1, mirror=True,
        optimizer=None, scheduler=None,
    )  # fmt: skip
    found = task.embed(x)
    views = [x, *moved(x, 0.1)]
    mean = sum(F.normalize(each.flatten(1), dim=1) for view in views for each in (view, view.flip(-1)))
    assert torch.allclose(found, F.normalize(torch.as_tensor(mean), dim=1), atol=1e-5)
    assert torch.allclose(found, task.embed(x.flip(-1)), atol=1e-5)


def test_embeddings_of_half_precision_are_float32_and_kept_by_example() -> None:
    task = Verification(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), class_names=["a", "b"], class_counts=[2, 2], embedding=8,
        optimizer=None, scheduler=None,
    )  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = task.embed(torch.rand(4, 1, 4, 4))
    assert embeddings.dtype == torch.float32
    found = task.per_example({"output": embeddings.detach(), "y": torch.tensor([0, 0, 1, 1])})
    assert found["target"] == ["a", "a", "b", "b"]
    assert (found["most_similar_same"] <= 1.001).all()


def test_people_of_the_test_are_not_in_training(trained: lantu.Result) -> None:
    parts = {name: set(part.y.tolist()) for name, part in trained.data.splits.items()}  # type: ignore[attr-defined]
    assert set(parts) == {"train", "val", "test"}
    assert not parts["train"] & (parts["test"] | parts["val"])
    task: Any = trained.module
    assert len(task.head.weight) == len(parts["train"])
    assert {"test/eer", "test/rank1_accuracy", "val/eer_best"} <= trained.metrics.keys()
    assert (trained.run_dir / "figures" / "verification_roc.png").is_file()


def test_probes_are_found_in_a_gallery(trained: lantu.Result, tmp_path: Path) -> None:
    from pytorch_lightning import Trainer

    table = faces(tmp_path / "all", people=4, shots=4)
    for number, row in enumerate(table.itertuples()):
        part = tmp_path / "in" / ("probe" if number % 4 == 3 else f"gallery/{row.person}")
        part.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / row.image).rename(part / row.image)
    rebuilt = rebuild(trained.best_checkpoint)  # type: ignore[arg-type]
    found = predict(rebuilt, Trainer(logger=False, enable_progress_bar=False), tmp_path / "in")
    probes = found[found["part"] == "probe"]
    assert len(probes) == 4
    right = [Path(image).name[:3] == person for image, person in zip(probes["image"], probes["person"], strict=True)]
    assert np.mean(right) >= 0.75
    assert set(found.loc[found["part"] == "gallery", "known_as"]) == {"p00", "p01", "p02", "p03"}
    with pytest.raises(lantu.UserError, match="gallery/PERSON/IMAGE"):
        predict(rebuilt, Trainer(logger=False), tmp_path / "all")


def test_baselines_are_measured_on_the_same_pairs(trained: lantu.Result) -> None:
    made = {each.name: each.metrics for each in type(trained.module).baselines(trained.data)}  # type: ignore[attr-defined]
    assert set(made) == {"pixels", "eigenfaces"}
    assert all(0 <= each["test/eer"] <= 0.6 for each in made.values())
