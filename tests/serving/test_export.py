"""An export answers as the trained network does, or it is refused."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

import lantu
from lantu.config.build import build
from lantu.decisions.attribution import integrated_gradients
from lantu.errors import UserError
from lantu.inference.exported import FILES, PREPARATION
from lantu.inference.exported_program import load_program
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.models import CTCNetwork, FastText, FoldNetworks, Fusion, WaveNet
from lantu.models.gpt import GPT
from lantu.models.recurrent_layers import read_padded
from lantu.models.rnn import RNN
from lantu.serving.export.equality import Equality, _add
from lantu.serving.export.export_command import export
from lantu.serving.export.graph import refuse_without_graph, trace
from lantu.tasks import Classification, LanguageModeling
from lantu.tracking.find import find_checkpoint
from tests.conftest import SHORT

TRAINER = {
    "_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, own_data: dict[str, list[str]]) -> lantu.Result:
    """An MLP on a table of people, after two steps."""
    root = tmp_path_factory.mktemp("run")
    options = [*SHORT, *own_data["csv"], "++callbacks.figures=null", "test=false", "save_model=false"]
    return lantu.run(lantu.compose(f"paths.root={root}", "data=csv", "model=mlp", *options))


def test_an_export_keeps_the_calibration(tmp_path: Path, own_data: dict[str, list[str]]) -> None:
    options = [*SHORT, *own_data["csv"], "++callbacks.figures=null", "test=false", "save_model=false"]
    options += ["calibration=platt", "data.split.val=0.3"]
    checkpoint = lantu.run(
        lantu.compose(f"paths.root={tmp_path}", "data=csv", "model=linear", *options)
    ).best_checkpoint
    assert export(rebuild(checkpoint), checkpoint, tmp_path / "calibrated", form="torch")["equal"]


def test_reasons_of_a_network_without_gradients_are_refused_in_words() -> None:
    with pytest.raises(UserError, match="need the network's gradients"):
        integrated_gradients(lambda x: x.detach().sum(dim=1), torch.ones(2, 3), torch.zeros(3))


@pytest.fixture
def rows(own_data: dict[str, list[str]]) -> Path:
    return Path(own_data["csv"][0].partition("=")[2])


@pytest.mark.slow  # importing onnxscript alone takes ten seconds
def test_an_export_to_onnx_predicts_for_a_file_what_the_run_predicts(
    run: lantu.Result, rows: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    found = export(rebuild(run.best_checkpoint), run.best_checkpoint, tmp_path / "out", form="onnx", examples=20)
    assert found["equal"]
    assert max(found["largest"].values()) < 1e-6
    assert [shape[0] for shape in found["batches"]][-2:] == [1, 2]
    answers = [
        predict(rebuild(each), build(TRAINER), rows)
        for each in (run.best_checkpoint, find_checkpoint(str(tmp_path / "out"), store=tmp_path))
    ]
    pd.testing.assert_frame_equal(*answers, rtol=1e-6)
    assert answers[0]["prediction"].tolist() == answers[1]["prediction"].tolist()


def test_an_export_that_answers_differently_is_refused_and_leaves_nothing(run: lantu.Result, tmp_path: Path) -> None:
    rebuilt = rebuild(run.best_checkpoint)
    with pytest.raises(UserError, match="answers differently from the trained network: value"):
        export(rebuilt, run.best_checkpoint, tmp_path / "out", form="torch", tolerance=-1.0, examples=4)
    assert not list(tmp_path.iterdir())


def test_half_the_bytes_say_what_they_cost_in_quality(run: lantu.Result, tmp_path: Path) -> None:
    options = {"form": "safetensors", "examples": 8, "trainer": build(TRAINER)}
    whole = export(rebuild(run.best_checkpoint), run.best_checkpoint, tmp_path / "whole", **options)
    half = export(rebuild(run.best_checkpoint), run.best_checkpoint, tmp_path / "half", precision="bf16", **options)
    assert whole["largest"]["value"] == 0
    assert half["bytes"] < 0.6 * whole["bytes"]
    assert half["quality"]["test/loss"]["trained"] != half["quality"]["test/loss"]["exported"]


def test_a_file_that_can_run_code_is_not_read(run: lantu.Result, tmp_path: Path) -> None:
    export(rebuild(run.best_checkpoint), run.best_checkpoint, tmp_path / "out", form="torch", examples=4)
    with pytest.raises(UserError, match="can run code"):
        rebuild(tmp_path / "out" / PREPARATION)


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=pytest.mark.slow), "safetensors"])
def test_an_export_whose_network_was_changed_does_not_answer(form: str, run: lantu.Result, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    folder, checkpoint = tmp_path / form, run.best_checkpoint
    assert checkpoint is not None
    export(rebuild(checkpoint), checkpoint, folder, form=form, examples=4)
    rebuild(folder / PREPARATION)
    network = folder / FILES[form]
    changed = bytearray(network.read_bytes())
    changed[len(changed) // 2] ^= 1
    network.write_bytes(changed)
    with pytest.raises(UserError, match=rf"{network.name} is damaged or was changed after the export"):
        rebuild(folder / PREPARATION)
    network.unlink()
    with pytest.raises(UserError, match=rf"{network.name} is gone"):
        rebuild(folder / PREPARATION)


def test_a_folder_of_something_else_is_not_replaced(run: lantu.Result, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already and is no export"):
        export(rebuild(run.best_checkpoint), run.best_checkpoint, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"kv_heads": 1, "qk_norm": True}, {"positions": "learned", "norm": "layer"}])
def test_a_gpt_is_traced_with_any_batch_and_length(options: dict[str, object]) -> None:
    net = GPT(17, 12, width=16, layers=2, heads=2, **options).eval()
    task = LanguageModeling(net, bytes_per_token=1.0, context=12).eval()
    tokens = torch.randint(17, (5, 12), generator=torch.Generator().manual_seed(0))
    module = trace(task, tokens, {"context": 12}).program.module()
    for batch, length in ((1, 12), (5, 3), (2, 7)):
        part = tokens[:batch, :length]
        with torch.no_grad():
            torch.testing.assert_close(module(part)[0], net(part), atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_recurrent_layer_that_is_traced_reads_padded_texts_as_packing_does(cell: str) -> None:
    torch.manual_seed(0)
    net = RNN(9, 2, pad_id=0, cell=cell, embedding=6, hidden=5, bidirectional=True).eval()
    lengths, x = torch.tensor([4, 1, 7]), torch.randn(3, 7, 6)
    with torch.no_grad():
        packed, state = net._read(net.layers[0], x, lengths, None)
        padded, last = read_padded(net.layers[0], x, lengths)
    torch.testing.assert_close(padded, packed)
    torch.testing.assert_close(last, state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize(("exported", "equal"), [(float("inf"), True), (-float("inf"), False), (float("nan"), False)])
def test_an_infinite_output_equals_only_the_same_infinity(exported: float, equal: bool) -> None:
    found = Equality(1e-5, examples=2)
    _add(found, "", {"y": torch.tensor([1.0, float("inf")])}, {"y": torch.tensor([1.0, exported])})
    assert found.equal is equal


def test_a_gan_exports_its_averaged_generator_and_makes_the_same_images_from_it(tmp_path: Path) -> None:
    options = [*SHORT, "task.feature_steps=2", "task.compared=20", "model.channels_first=4", "model.noise=8"]
    options += ["++callbacks.figures=null", "test=false", "save_model=false", "trainer.limit_val_batches=1"]
    run = lantu.run(lantu.compose(f"paths.root={tmp_path}", "data=digits", "model=dcgan", *options)).best_checkpoint
    found = export(rebuild(run), run, tmp_path / "out", form="torch", examples=12)
    assert found["equal"]
    assert found["dynamic"] == {"noise": [0], "class": [0]}
    own, exported = (rebuild(each, trusted=True).task for each in (run, tmp_path / "out" / PREPARATION))
    torch.testing.assert_close(exported.generate(5)[0], own.generate(5)[0])


def test_a_forecaster_exports_its_forecast_in_the_units_of_the_series(
    tmp_path: Path, own_data: dict[str, list[str]]
) -> None:
    options = [*SHORT, *own_data["time_series"], "model.blocks=1", "model.width=4", "task.kind=quantile"]
    options += ["++callbacks.figures=null", "test=false", "save_model=false"]
    run = lantu.run(lantu.compose(f"paths.root={tmp_path}", "data=time_series", "model=tcn", *options)).best_checkpoint
    found = export(rebuild(run), run, tmp_path / "out", form="torch", examples=6)
    assert found["equal"]
    assert {"value", "prediction prediction", "prediction quantile"} <= found["largest"].keys()
    assert all(0 in places for places in found["dynamic"].values())


def test_a_scorecard_that_is_exported_counts_the_same_points(tmp_path: Path, own_data: dict[str, list[str]]) -> None:
    options = [*SHORT, *own_data["csv"], "++callbacks.figures=null", "test=false", "save_model=false"]
    run = lantu.run(lantu.compose(f"paths.root={tmp_path}", "data=csv", "model=scorecard", *options)).best_checkpoint
    found = export(rebuild(run), run, tmp_path / "out", form="torch", examples=12)
    assert found["largest"]["prediction score"] == 0


def test_a_fusion_that_is_traced_answers_rows_that_lack_inputs() -> None:
    torch.manual_seed(0)
    encoders = {name: torch.nn.Linear(6, 8) for name in ("image", "text")}
    net = Fusion(3, modalities=["image", "text"], features=8, hidden=8, **encoders).eval()
    x = {name: torch.randn(4, 6) for name in ("image", "text")}
    x |= {"image_present": torch.tensor([True, True, False, False])}
    x |= {"text_present": torch.tensor([True, False, True, False])}
    module = trace(Classification(net, classes=3).eval(), x, {}).program.module()
    for rows in (4, 1):
        part = {name: each[:rows] for name, each in x.items()}
        with torch.no_grad():
            torch.testing.assert_close(module(part)[0], net(part))


def test_texts_read_by_n_grams_are_traced_with_any_batch_and_length(tmp_path: Path) -> None:
    net = FastText(30, 2, buckets=64, width=4).eval()
    tokens = torch.tensor([[3, 4, 5, 6, 0, 0, 0, 0], [7, 8, 9, 3, 4, 5, 1, 2], [0] * 8])
    view = tokens.repeat(2, 2)[:3, :8]  # a part of a larger tensor, on whose size a condition is written
    torch.export.save(trace(Classification(net, classes=2).eval(), view, {}).program, tmp_path / "model.pt2")
    module = load_program(tmp_path / "model.pt2")
    for batch, length in ((3, 8), (1, 4), (2, 5)):
        part = tokens.repeat(2, 2)[:batch, :length]
        with torch.no_grad():
            torch.testing.assert_close(module(part)[0], net(part))


@pytest.mark.parametrize(
    "net",
    [
        WaveNet(80, 20, 9, layers=2, channels=4, skip=4),
        CTCNetwork(8, 5, width=8, layers=1, recurrent=True),
        FoldNetworks(torch.nn.Linear(2, 2), 2),
    ],
    ids=["wavenet", "ctc", "folds"],
)
def test_a_network_without_a_graph_says_why_and_what_to_do(net: torch.nn.Module) -> None:
    with pytest.raises(UserError, match=r"cannot hold a \w+: .*`format=safetensors` keeps its weights"):
        refuse_without_graph(net)


def test_boxes_are_measured_against_the_size_of_the_picture_and_not_against_a_side_that_is_near_its_border() -> None:
    sides = torch.tensor([[1e-3, 2.0, 127.0, 120.0]])
    for shift, equal in ((5e-4, True), (5e-3, False)):
        for trained, exported in ((sides, sides + shift), ([sides, sides[:0]], [sides + shift, sides[:0]])):
            found = Equality(tolerance=1e-5, examples=1)
            _add(found, "", {"boxes": trained}, {"boxes": exported})
            assert found.equal == equal
    plain = Equality(tolerance=1e-5, examples=1)
    _add(plain, "", {"scores": sides}, {"scores": sides + 5e-4})
    assert not plain.equal


TABLE = re.compile(r"^\| (\w[^|]*?) *\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def test_the_table_of_the_docs_says_of_every_model_what_it_exports_to() -> None:
    page = Path(__file__).parents[2] / "docs" / "export.md"
    rows = TABLE.findall(page.read_text().partition("## What exports")[2])
    named = {word for row in rows for word in re.findall(r"\w+", row[0])}
    missing = {path.stem for path in Path("conf/model").glob("*.yaml")} - named
    assert not missing
    figure = re.compile(r"0|\d\.\d(e-\d+)?|no(: .*)?|not measured")
    assert [row for row in rows if not all(figure.fullmatch(each.strip()) for each in row[1:3])][1:] == []
