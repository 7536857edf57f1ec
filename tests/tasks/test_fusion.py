"""Classification from several inputs of which rows may lack some: the network, the data, and a run from end to end."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image
from torch import nn

import lantu
from lantu.cli.main import main
from lantu.data import MultimodalDataModule, media_table
from lantu.data.samplers import Chosen
from lantu.inference.rebuild import rebuild
from lantu.models import Fusion

ALL = ["image", "text", "audio"]


def network(fusion: str) -> Fusion:
    torch.manual_seed(0)
    encoders = {name: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)) for name in ALL}
    return Fusion(3, modalities=ALL, features=8, fusion=fusion, hidden=8, **encoders).eval()  # type: ignore[arg-type]


def batch(present: list[tuple[bool, bool, bool]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = {name: torch.randn(len(present), 6, generator=generator) for name in ALL}
    return x | {f"{name}_present": torch.tensor([row[place] for row in present]) for place, name in enumerate(ALL)}


PRESENT = [(True, True, True), (True, False, True), (False, True, False), (False, False, True)]


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_what_stands_in_place_of_a_missing_input_changes_nothing(fusion: str) -> None:
    net, x = network(fusion), batch(PRESENT)
    before = net(x)
    for place, name in enumerate(ALL):
        for row, present in enumerate(PRESENT):
            if not present[place]:
                x[name][row] = 100.0
    torch.testing.assert_close(net(x), before)
    assert not torch.allclose(net(batch([(True, True, True)] * 4)), before)  # a missing one does change the answer


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_a_row_has_the_same_answer_alone_and_beside_rows_with_other_inputs(fusion: str) -> None:
    net, x = network(fusion), batch(PRESENT)
    together = net(x)
    for row in range(len(PRESENT)):
        alone = net({name: values[row : row + 1] for name, values in x.items()})
        torch.testing.assert_close(alone[0], together[row])


def test_missing_inputs_do_not_enter_the_statistics_of_batch_norm() -> None:
    net = network("early").train()
    x = batch([(True, True, True)] * 6 + [(False, True, True)] * 2)
    net(x)
    with_missing = net.encoders["image"][1].running_mean.clone()  # type: ignore[index, union-attr, operator]
    net = network("early").train()
    net({name: values[:6] for name, values in x.items()})
    torch.testing.assert_close(net.encoders["image"][1].running_mean, with_missing)  # type: ignore[index]


def test_late_fusion_with_one_input_is_that_inputs_classifier() -> None:
    net, x = network("late"), batch([(True, False, False)] * 3)
    expected = net.heads["image"](torch.relu(net.encoders["image"](x["image"])))
    torch.testing.assert_close(net(x), expected)


def test_encoders_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(lantu.UserError, match=r"model\.audio=null"):
        Fusion(3, modalities=["image", "text"], audio=nn.Identity())
    with pytest.raises(lantu.UserError, match="needs an encoder"):
        Fusion(3, modalities=ALL)
    net = Fusion(3, modalities=["image"], features=8, image=nn.Linear(6, 5)).eval()
    with pytest.raises(lantu.UserError, match=r"model\.features"):
        net(batch([(True, True, True)]))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Warm and cold things: a red or a blue picture, a text, a high or a low tone; each row lacks some of them."""
    folder = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(90):
        warm = number % 2 == 0
        colour = np.array([220, 60, 60] if warm else [60, 60, 220]) + rng.integers(-30, 30, (12, 12, 3))
        Image.fromarray(colour.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        wave = 0.5 * np.sin(2 * np.pi * (1500 if warm else 400) * np.arange(1600) / 8000 + number)
        soundfile.write(folder / f"{number}.wav", wave, 8000)
        rows.append(
            {
                "picture": f"{number}.png" if number % 3 else None,
                "words": f"a {'hot' if warm else 'icy'} thing number {number}" if number % 3 != 1 else None,
                "sound": f"{number}.wav" if number % 5 == 0 else None,
                "kind": "warm" if warm else "cold",
            }
        )
    (folder / "damaged.png").write_bytes(b"no picture")
    rows.append({"picture": "damaged.png", "words": None, "sound": None, "kind": "warm"})
    pd.DataFrame(rows).to_csv(folder / "things.csv", index=False)
    return folder


def module(table: Path, **options: object) -> MultimodalDataModule:
    columns = {"image": "picture", "audio": "sound"}
    data = MultimodalDataModule(
        source=lambda: media_table(str(table / "things.csv"), **columns), target="kind", text="words", size=12,
        batch_size=8, cache=str(table / "cache"), **columns, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    data.prepare_data()
    return data


def test_rows_with_any_input_stay_and_what_is_missing_is_masked_and_said(table: Path) -> None:
    data = module(table)
    x, _ = next(iter(data.test_dataloader()))
    for name in ALL:
        missing = x[name][~x[f"{name}_present"]]
        assert not missing.any()
    told = data.report.lines()
    assert any(line.startswith("1 picture that could not be read") and "damaged.png" in line for line in told)
    assert "1 row without any input left out" in told
    assert "30 rows without a picture" in told
    assert sum(data.report.sizes.values()) == 90


def test_hidden_inputs_leave_each_row_one_and_are_drawn_from_seed_and_epoch(table: Path) -> None:
    examples = module(table, hide=0.7).splits["train"]
    rows = list(range(40))

    def drawn(epoch: int) -> torch.Tensor:
        x, _ = examples.__getitems__(Chosen(rows, seed=0, epoch=epoch))  # type: ignore[attr-defined]
        return torch.stack([x[f"{name}_present"] for name in ALL], dim=1)

    assert drawn(0).any(dim=1).all()
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    x, _ = examples.__getitems__(rows)  # type: ignore[attr-defined]
    assert not (drawn(0) & ~torch.stack([x[f"{name}_present"] for name in ALL], dim=1)).any()


def test_held_out_rows_with_a_text_of_training_can_be_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"words": [f"thing {number % 25}" for number in range(60)], "kind": ["a", "b"] * 30})
    frame["part"] = ["train"] * 20 + ["validation"] * 20 + ["test"] * 20
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = MultimodalDataModule(
        source=lambda: media_table(str(tmp_path / "t.csv"), part="part"), target="kind", text="words",
        seen_texts="drop", duplicates="keep", cache=str(tmp_path),
    )  # fmt: skip
    data.prepare_data()
    assert data.report.sizes == {"train": 20, "val": 5, "test": 5}  # things 20 to 24 only
    assert any("whose text a training row has left out" in line for line in data.report.lines())


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    root = tmp_path_factory.mktemp("run")
    return lantu.run(lantu.compose(*_typed(table, root), "trainer.max_epochs=12", "test=true", "save_model=true"))


def _typed(table: Path, root: Path) -> list[str]:
    return [
        "data=multimodal_table", f"data.path={table}/things.csv", "data.target=kind", "data.image=picture",
        "data.text=words", "data.audio=sound", "data.size=12", "data.batch_size=8", "data.split={val: 0.2, test: 0.2}",
        "data.hide=0.2", "model=fusion_audio", "model.features=16", "model.image.widths=[8]", "model.text.buckets=64",
        "model.audio.filters=8", "model.audio.width=16", "optimizer.lr=1e-2", "trainer.enable_progress_bar=false",
        "logger.mlflow.ship=false", "++callbacks.figures=null", f"paths.root={root}",
    ]  # fmt: skip


def test_each_input_alone_is_enough_for_a_trained_model(trained: lantu.Result, table: Path, tmp_path: Path) -> None:
    assert trained.metrics["test/accuracy"] > 0.9
    asked = pd.DataFrame(
        {
            "image": ["0.png", None, None, "1.png", None],
            "text": [None, "a hot thing", None, None, "an icy thing"],
            "audio": [None, None, "0.wav", "1.wav", None],
        }
    )
    asked.to_csv(table / "asked.csv", index=False)
    assert main(["predict", f"run={trained.run_dir}", f"input={table}/asked.csv", f"output={tmp_path}/a.csv"]) == 0
    assert pd.read_csv(tmp_path / "a.csv")["prediction"].tolist() == ["warm", "warm", "warm", "cold", "cold"]


def test_a_served_model_answers_where_inputs_are_missing_and_refuses_a_row_without_any(
    trained: lantu.Result, table: Path
) -> None:
    served = mlflow.pyfunc.load_model(str(trained.run_dir / "model"))
    picture, sound = ((table / name).read_bytes() for name in ("2.png", "1.wav"))
    rows = pd.DataFrame({"image": [picture, None], "text": ["a hot thing", None], "audio": [None, sound]})
    assert served.predict(rows)["prediction"].tolist() == ["warm", "cold"]
    with pytest.raises(Exception, match="row 1 has no input"):
        served.predict(pd.DataFrame({"text": ["a hot thing", None]}))


def test_baselines_are_measured_on_the_same_rows(trained: lantu.Result) -> None:
    rebuilt = rebuild(trained.run_dir / "checkpoints" / "best.ckpt")
    rebuilt.data.prepare_data()
    trivial, classical = type(rebuilt.task).baselines(rebuilt.data)
    assert classical.metrics["test/accuracy"] > trivial.metrics["test/accuracy"]
    sizes = json.loads((trained.run_dir / "data.json").read_text())["sizes"]
    assert {name: len(examples) for name, examples in rebuilt.data.splits.items()} == sizes  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_weights(table: Path, tmp_path: Path) -> None:
    typed = [*_typed(table, tmp_path), "test=false", "save_model=false", "trainer.max_epochs=2", "augment=light"]
    whole = lantu.run(lantu.compose(*typed, "callbacks.resume.steps=1"))
    part = [*typed, "resume=auto", "callbacks.resume.steps=1", f"paths.run={tmp_path}/part"]
    lantu.run(lantu.compose(*part, "trainer.max_steps=4"))
    resumed = lantu.run(lantu.compose(*part))
    ends = [_last(each.run_dir) for each in (whole, resumed)]
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def _last(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    return torch.load(newest, weights_only=False)["state_dict"]
