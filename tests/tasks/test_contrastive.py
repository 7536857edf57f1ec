"""Contrastive learning against transformers' own losses, retrieval against a loop, and a run from end to end."""

import itertools
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from PIL import Image, ImageDraw

import lantu
from lantu.cli.main import main
from lantu.inference.rebuild import rebuild
from lantu.models import ImageTextModel
from lantu.tasks.contrastive import contrastive_loss
from lantu.tasks.retrieval import ZeroShot, chance, measures, ranks_of

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "black": (10, 10, 10)}
PLACES = {"left": 1, "middle": 11, "right": 21}
SHAPES = ("square", "disc")
SIZES = {"small": 5, "large": 10}
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def draw(colour: str, shape: str, place: str, size: str) -> Image.Image:
    picture = Image.new("RGB", (32, 32), "white")
    box = (PLACES[place], 10, PLACES[place] + SIZES[size], 10 + SIZES[size])
    pen = ImageDraw.Draw(picture)
    (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
    return picture


def tiny(kind: str, *, seed: int = 0) -> ImageTextModel:
    torch.manual_seed(seed)
    config = {"model_type": kind, "text_config": TINY, "vision_config": {**TINY, "patch_size": 8}}
    return ImageTextModel(50, max_length=8, pad_id=0, end_id=4, channels=3, size=16, config=config).eval()


def texts(number: int, *, seed: int = 0) -> torch.Tensor:
    tokens = torch.randint(5, 50, (number, 8), generator=torch.Generator().manual_seed(seed))
    for row, length in enumerate(range(2, 2 + number)):
        tokens[row, min(length, 7)] = 4
        tokens[row, min(length, 7) + 1 :] = 0
    return tokens


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_loss_is_that_of_transformers(kind: str) -> None:
    net, x = tiny(kind), {"image": torch.randn(5, 3, 16, 16), "text": texts(5)}
    output = net(x)
    own = contrastive_loss(
        output["image"], output["text"], scale=output["scale"], bias=output["bias"], texts=torch.arange(5),
        objective=net.objective,
    )  # fmt: skip
    theirs = net.net(input_ids=x["text"], pixel_values=x["image"], return_loss=True)
    torch.testing.assert_close(own, theirs.loss.detach().reshape(()), check_stride=False, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("objective", ["softmax", "sigmoid"])
def test_a_pair_with_the_same_text_is_not_taught_to_be_wrong(objective: str) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    options = {"scale": torch.tensor(5.0), "bias": torch.tensor(-1.0), "objective": objective}
    text = vectors[[0, 0, 2, 3]].clone().requires_grad_()
    image = vectors[[1, 1, 2, 3]].clone().requires_grad_()
    contrastive_loss(image, text, texts=torch.tensor([7, 7, 1, 2]), **options).backward()
    assert image.grad is not None
    torch.testing.assert_close(image.grad[0], image.grad[1])  # each is drawn to the one text that both have
    alone = contrastive_loss(image[1:], text[1:], texts=torch.tensor([7, 1, 2]), **options)
    apart = contrastive_loss(image[1:], text[1:], texts=torch.arange(3), **options)
    torch.testing.assert_close(alone, apart)


def test_a_text_has_the_same_vector_alone_and_among_longer_ones() -> None:
    for kind in ("clip", "siglip"):
        net, tokens = tiny(kind), texts(5)
        together = net({"text": tokens})["text"]
        for row in range(5):
            torch.testing.assert_close(net({"text": tokens[row : row + 1]})["text"][0], together[row])


def test_recall_and_ranks_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(40, 40))
    numbers = np.array([*range(30), *rng.integers(0, 30, 10)])  # some texts belong to several pictures
    similarity[:, 30:] = similarity[:, [int(np.flatnonzero(numbers == each)[0]) for each in numbers[30:]]]
    found = ranks_of(torch.from_numpy(similarity), torch.from_numpy(numbers))
    first = {int(number): int(np.flatnonzero(numbers == number)[0]) for number in numbers}
    for row in range(40):
        order = sorted(first, key=lambda number: -similarity[row, first[number]])
        assert found["image_to_text"][row] == order.index(int(numbers[row])) + 1
    for place, number in enumerate(sorted(first)):
        order = np.argsort(-similarity[:, first[number]])
        assert found["text_to_image"][place] == min(np.flatnonzero(numbers[order] == number)) + 1
    scores = measures(torch.from_numpy(similarity), torch.from_numpy(numbers), intervals=True)
    assert float(scores["image_to_text_recall_5"]) == pytest.approx(float((found["image_to_text"] <= 5).float().mean()))
    assert (
        scores["image_to_text_recall_5_low"] < scores["image_to_text_recall_5"] < scores["image_to_text_recall_5_high"]
    )


def test_chance_is_the_mean_over_random_orders_and_equal_scores_are_no_luck() -> None:
    numbers = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    expected = chance(numbers)
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(400):
        scores = torch.rand(10, 10, generator=generator)
        drawn.append(measures(scores, numbers))
    for name, value in expected.items():
        assert float(torch.stack([each[name] for each in drawn]).mean()) == pytest.approx(value, abs=0.03)
    assert float(measures(torch.zeros(10, 10), numbers)["image_to_text_recall_1"]) == 0


def test_zero_shot_accuracy_leaves_out_pictures_without_a_class() -> None:
    metric = ZeroShot(3, intervals=True)
    metric.update(torch.eye(3)[[0, 1, 2, 2]], torch.tensor([0, 2, 2, -1]))
    assert float(metric.compute()["zero_shot_accuracy"]) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured shapes with their descriptions in a table; one picture twice, one text in two parts."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number, each in enumerate(itertools.product(COLOURS, SHAPES, PLACES, SIZES)):
        colour, shape, place, size = each
        draw(*each).save(folder / f"{number}.png")
        part = "test" if number % 5 == 1 else "validation" if number % 5 == 3 else "train"
        rows.append((f"{number}.png", f"a {size} {colour} {shape} on the {place}", colour, part))
    rows.append((rows[0][0], rows[0][1], "red", "train"))  # the same pair again
    rows.append((rows[1][0], "an odd one", "red", "train"))  # a picture of the test part
    rows.append((rows[3][0], rows[0][1].upper(), "red", "test"))  # a text of the training part
    frame = pd.DataFrame(rows, columns=["image", "text", "colour", "part"])
    frame.to_csv(folder / "pairs.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    """A CLIP that has learned colours and places."""
    root = tmp_path_factory.mktemp("run")
    small = ["hidden_size=32", "intermediate_size=64", "num_hidden_layers=1", "num_attention_heads=2"]
    return lantu.run(
        lantu.compose(
            "data=image_text", f"data.path={pairs}/pairs.csv", "data.source.part=part", "data.category=colour",
            "data.size=32", "data.level=word", "data.min_count=1", "model=clip", "model.config.projection_dim=32",
            "model.config.vision_config.patch_size=8",
            *(f"model.config.{tower}_config.{option}" for tower in ("text", "vision") for option in small),
            "data.batch_size=16", "optimizer.lr=3e-3", "trainer.max_epochs=60", "trainer.check_val_every_n_epoch=20",
            "callbacks.checkpoint.monitor=val/mean_recall", "callbacks.checkpoint.mode=max",
            "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", f"paths.root={root}",
        )
    )  # fmt: skip


def test_repeated_and_shared_pairs_are_left_out_and_said(trained: lantu.Result) -> None:
    found = json.loads((trained.run_dir / "data.json").read_text())["found"]
    assert {each["what"]: each["count"] for each in found} == {
        "training pairs that occur twice left out": 1,
        "training pairs with a held-out picture left out": 1,
        "validation and test pairs whose text a training pair has left out": 1,
    }


def test_unseen_descriptions_are_found_better_than_by_chance(trained: lantu.Result) -> None:
    assert trained.metrics["test/image_to_text_recall_5"] > 0.75  # ten different texts, chance 0.5
    assert trained.metrics["test/text_to_image_median_rank"] <= 3
    assert 0 <= trained.metrics["test/zero_shot_accuracy_low"] <= trained.metrics["test/zero_shot_accuracy"]


def test_predict_finds_texts_for_pictures_and_pictures_for_texts(
    trained: lantu.Result, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"run={trained.run_dir}"
    assert main(["predict", run, f"input={pairs / '0.png'}", f"output={tmp_path}/texts.csv"]) == 0
    found = pd.read_csv(tmp_path / "texts.csv")
    assert found["match_1"][0].startswith("a small red square")
    assert found["score_1"][0] >= found["score_2"][0]
    (tmp_path / "asked.txt").write_text("a large blue disc on the right\n")
    assert main(["predict", run, f"input={tmp_path}/asked.txt", f"gallery={pairs}", f"output={tmp_path}/p.csv"]) == 0
    found = pd.read_csv(tmp_path / "p.csv")
    assert str(pairs / "35.png") in found[[f"match_{rank}" for rank in range(1, 6)]].to_numpy()
    capsys.readouterr()
    assert main(["predict", run, f"input={tmp_path}/asked.txt"]) == 2
    assert "gallery=PATH" in capsys.readouterr().err


def test_evaluate_measures_the_same_and_a_served_model_answers(
    trained: lantu.Result, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"run={trained.run_dir}"]) == 0
    printed = {
        line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines() if "recall" in line
    }
    assert printed["mean_recall"] == pytest.approx(trained.metrics["test/mean_recall"], abs=1e-4)
    served = mlflow.pyfunc.load_model(str(trained.run_dir / "model"))
    answer = served.predict(pd.DataFrame({"image": [(pairs / "0.png").read_bytes()]}))
    assert answer["match_1"][0].startswith("a small red square")
    asked = ["a small red square on the left", "a large blue disc on the right"]
    both = pd.DataFrame({"image": [(pairs / "0.png").read_bytes()] * 2, "text": asked})
    scores = served.predict(both)["score"]
    assert scores[0] > scores[1]
    with pytest.raises(Exception, match="base64"):
        served.predict(pd.DataFrame({"image": [str(pairs / "0.png")]}))  # a path on the server


def test_weights_of_a_local_folder_are_taken_and_must_fit(tmp_path: Path) -> None:
    net = tiny("clip", seed=3)
    net.net.save_pretrained(tmp_path)
    options = {"max_length": 8, "pad_id": 0, "end_id": 4, "channels": 3}
    again = ImageTextModel(50, size=16, pretrained=str(tmp_path), **options).eval()
    x = {"image": torch.randn(2, 3, 16, 16), "text": texts(2)}
    torch.testing.assert_close(again(x)["image"], net(x)["image"])
    assert isinstance(again.net, transformers.CLIPModel)
    with pytest.raises(lantu.UserError, match=r"data\.size=16"):
        ImageTextModel(50, size=32, pretrained=str(tmp_path), **options)
    with pytest.raises(lantu.UserError, match=r"data\.tokenizer"):
        ImageTextModel(500, size=16, pretrained=str(tmp_path), **options)
    with pytest.raises(lantu.UserError, match=r"end with token 5, and this CLIP reads them at token 4"):
        ImageTextModel(50, size=16, pretrained=str(tmp_path), **{**options, "end_id": 5})


def test_texts_that_end_with_token_2_are_refused_by_clip_which_reads_the_largest_number() -> None:
    sizes = {"max_length": 8, "pad_id": 1, "channels": 3, "size": 16}
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = {"text_config": small, "vision_config": {**small, "patch_size": 8}}
    with pytest.raises(lantu.UserError, match=r"end with token 2.*the largest number.*model=siglip"):
        ImageTextModel(50, end_id=2, config={"model_type": "clip", **config}, **sizes)
    ImageTextModel(50, end_id=2, config={"model_type": "siglip", **config}, **sizes)


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_weights(trained: lantu.Result, pairs: Path, tmp_path: Path) -> None:
    small = ["hidden_size=16", "intermediate_size=16", "num_hidden_layers=1", "num_attention_heads=1"]
    typed = [
        "data=image_text", f"data.path={pairs}/pairs.csv", "data.source.part=part", "data.size=16", "model=siglip",
        *(f"model.config.{tower}_config.{option}" for tower in ("text", "vision") for option in small),
        "augment=light", "data.batch_size=4", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false",
        "save_model=false", "test=false", "++callbacks.figures=null", f"paths.root={tmp_path}",
    ]  # fmt: skip
    whole = lantu.run(lantu.compose(*typed, "trainer.max_epochs=3"))
    part = [*typed, "resume=auto", "callbacks.resume.steps=1", f"paths.run={tmp_path}/part"]
    lantu.run(lantu.compose(*part, "trainer.max_epochs=3", "trainer.max_steps=3"))  # inside the second epoch
    resumed = lantu.run(lantu.compose(*part, "trainer.max_epochs=3"))
    ends = [_last(result.run_dir) for result in (whole, resumed)]
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def _last(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    return torch.load(newest, weights_only=False)["state_dict"]


def test_tag_lookup_and_chance_are_measured_on_the_same_pairs(trained: lantu.Result) -> None:
    rebuilt = rebuild(trained.run_dir / "checkpoints" / "best.ckpt")
    rebuilt.data.prepare_data()
    random, lookup = type(rebuilt.task).baselines(rebuilt.data)
    assert random.metrics["test/image_to_text_recall_1"] == pytest.approx(1 / 10)
    assert set(random.metrics) <= set(lookup.metrics)
