"""Every data set with every model of the catalogue: it trains, or a sentence refuses it.

A whole run takes seconds. Every data set and every model has one; further pairs train for one step.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import lantu
from lantu.cli.catalog import fits
from lantu.config.build import build
from lantu.config.explain import leaves
from lantu.config.locations import shipped_conf
from lantu.config.metric_names import is_logged
from lantu.config.spec_fields import model_nodes
from lantu.data import DataModule
from lantu.training.build_task import build_task
from lantu.training.complete_config import complete_config, publish_facts
from tests.conftest import SHORT

Train = Callable[..., lantu.Result]
FITS = fits()
# a model that has to be told where its weights lie is tested where such weights are made
MODELS = [name for name, node in model_nodes().items() if "???" not in leaves(node).values()]
WITH_BOXES = {"bccd", "detection_folder", "mini_mias_boxes", "road_cars"}
"""Data whose pairs with all detectors are tested in tests/tasks/test_detection.py."""
ONE_MODEL = {
    "digit_strings": "ctc", "spoken_orders": "ctc", "coffee_orders_spoken": "slot_network",
    "coffee_orders": "slot_network", "command_folder": "slot_network", "fsdd": "speech_cnn", "image_table": "cnn",
    "webdataset": "cnn",
    "image_text": "siglip", "multimodal_table": "fusion_audio", "openclipart": "clip",
    "openclipart_categories": "fusion", "co2": "linear", "daily_prices": "mlp", "sp500": "gru",
    "luna16_patches": "cnn", "mini_mias": "cnn", "orl_faces": "cnn", "hmda": "mlp", "lending_club": "scorecard",
}  # fmt: skip
"""Data read by a module whose pairs with the other models are here already, under another name."""
SPOKEN_HERE = {"coffee_orders_spoken", "spoken_orders"}
"""Data that a program speaks where they are used."""
READ_ALIKE = {"asterisk_en", "asterisk_en_synthesis", "fillets_nl", "image_parquet"}
"""Data read as `speech_folder`, `synthesis_folder` or `webdataset` is, with the same options."""
OF_ONE_KIND = {
    "clip",
    "siglip",
    "fusion",
    "fusion_audio",
    "slot_network",
    "patchtst",
    "tcn",
    "wavenet",
    "ctc_cnn",
    "parakeet",
    "wav2vec2",
    "whisper",
}
"""Models for data of one kind, whose refusal is tested with one other data set."""
NO_CLASSES = {("ames", "scorecard")}
"""Pairs whose facts fit and whose target does not, which tests/data/test_woe.py asks about."""
SLOW = {"wavenet", "bert", "bert_mlm", "whisper", "fusion"}
"""Models whose whole run takes more than three processor seconds."""
PAIRS = [
    (data, model)
    for data in FITS
    if data not in READ_ALIKE
    for model in MODELS
    if (data not in WITH_BOXES or model in ("yolo", "resnet"))
    and ONE_MODEL.get(data, model) == model
    and (data, model) not in NO_CLASSES
    and (model not in OF_ONE_KIND or data == "digits" or model in FITS[data])
]
CONF = Path(str(shipped_conf()))


def is_of_the_mirror(data: str) -> bool:
    """Whether a data set, or one that it is made from, lies in the mirror folder."""
    text = (CONF / "data" / f"{data}.yaml").read_text()
    return "${paths.mirror}" in text or any(map(is_of_the_mirror, re.findall(r"^  - ([a-z]\w*)$", text, re.MULTILINE)))


FROM_THE_MIRROR = set(filter(is_of_the_mirror, FITS))
SUBWORDS = ["data.level=bpe", "data.batch_size=16", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3"]
QUICK = ["data.batch_size=16", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3"]
SMALL = {
    "wav2vec2": ["data.features=waveform", *QUICK],
    "bert_mlm": SUBWORDS,  # characters and bytes have no mask
    "gpt2": ["model.layers=1", "model.width=48", "trainer.limit_val_batches=3", "trainer.limit_test_batches=3"],
    "dcgan": [*QUICK, "task.feature_steps=2", "task.compared=100"],
    "r3gan": [*QUICK, "task.feature_steps=2", "task.compared=100"],
    "inception": ["data.batch_size=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"],
    "yolo": [
        "model.width_factor=0.125",
        "data.size=64",
        "data.batch_size=8",
        "data.workers=0",
        "trainer.limit_val_batches=2",
        "trainer.limit_test_batches=2",
    ],
    "resnet": ["data.batch_size=8", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"],
    "slot_network": [*QUICK, "task.noise_levels=[10]"],
    "wavenet": [*QUICK, "model.layers=4", "model.dilations=4", "task.sample_seconds=0.1", "task.test_samples=1"],
}
LITTLE = {
    "openclipart": ["data.size=32"],
    "chatterbot_answers": ["data.context=16", "data.alike=null", "data.vocab_size=1000"],
    "daily_prices": ["data.refit_every=9000", "data.scale=volatility"],
    "coffee_orders_spoken": ["data.source.count=20"],
    "spoken_orders": ["data.source.count=60"],
    "digit_strings": ["data.source.repeats=1", "task.decoder=greedy", "task.lexicon=false"],
    "sp500": ["data.refit_every=9000", "data.scale=volatility", "model.hidden=8"],
    "udhr_identification": ["data.shortest=14000"],
}
"""Less of what takes seconds to prepare."""
FITTING = [pair for pair in PAIRS if pair[1] in FITS[pair[0]]]


def one_for_each(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first pair of every data set, then the first one of every model that is not among them."""
    by_data = {data: (data, model) for data, model in reversed(pairs)}
    by_model = {model: (data, model) for data, model in reversed(pairs)} | {each[1]: each for each in by_data.values()}
    return list(dict.fromkeys([*by_data.values(), *by_model.values()]))


WHOLE = one_for_each(FITTING)


ROWS = {
    "zalando-datasets": 400, "luna16_patches": 400, "openclipart": 400, "sentence_polarity": 400, "chatterbot": 400,
    "trec": 400, "udhr": 40,
}  # fmt: skip
"""How many rows of a file are enough here: all of them take seconds to decode."""
RECORDINGS = {"coffee_orders": 60}


@pytest.fixture(scope="session")
def small_mirror(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror with a part of the rows, or of the recordings, of large data sets."""
    small = tmp_path_factory.mktemp("mirror")
    for folder in mirror.iterdir():
        if folder.name in ROWS:
            for file in folder.rglob("*.parquet"):
                rows = pq.read_table(file)
                pq.write_table(rows.take(_spread(len(rows), ROWS[folder.name])), _place(small, file, mirror))
        elif folder.name in RECORDINGS:
            for file in folder.rglob("metadata.jsonl"):
                lines = file.read_text().splitlines()
                lines = [lines[each] for each in _spread(len(lines), RECORDINGS[folder.name])]
                _place(small, file, mirror).write_text("\n".join(lines))
                for line in lines:
                    recording = file.parent / json.loads(line)["file_name"]
                    _place(small, recording, mirror).symlink_to(recording)
        else:
            (small / folder.name).symlink_to(folder)
    return small


def _spread(count: int, most: int) -> list[int]:
    """Places that are evenly spread over `count`."""
    return [int(each) for each in np.linspace(0, count - 1, min(most, count))]


def _place(small: Path, file: Path, mirror: Path) -> Path:
    place = small / file.relative_to(mirror)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture
def options(own_data: dict[str, list[str]], request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """What a data set needs to be told; asks for the mirror only where it is needed."""

    def of(data: str) -> list[str]:
        if data in SPOKEN_HERE and shutil.which("espeak-ng") is None:
            pytest.skip("needs the program espeak-ng, which is not installed")
        if data in own_data or data not in FROM_THE_MIRROR:
            found = own_data.get(data, [])
        else:
            found = [f"paths.mirror={request.getfixturevalue('small_mirror')}"]
        return [
            *found,
            *LITTLE.get(data, []),
            "save_model=false",
        ]

    return of


@pytest.mark.parametrize(
    ("data", "model"), [pytest.param(*pair, marks=pytest.mark.slow if pair[1] in SLOW else ()) for pair in WHOLE]
)
def test_a_pair_that_fits_trains_and_is_recorded(
    data: str,
    model: str,
    options: Callable[[str], list[str]],
    train_shortly: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = model == FITS[data][0]  # what is drawn depends on the data and the task
    result = train_shortly(f"data={data}", f"model={model}", *options(data), *SMALL.get(model, QUICK), pictures=first)
    assert "failed with" not in capsys.readouterr().err, "a figure or a sample could not be made"
    assert {"train/loss", "val/loss", "test/loss"} <= result.metrics.keys()
    journal = (result.run_dir / "journal" / "records.jsonl").read_text().splitlines()
    recorded = set().union(*(json.loads(line).get("values", {}) for line in journal))
    measured = {name.removesuffix("_best") for name in recorded if name.startswith(("train/", "val/", "test/"))}
    measured = {name for name in measured if not name.startswith("train/lr")}
    assert not {name for name in measured if not is_logged(name, result.cfg.task._target_)}
    assert {"train/loss", "val/loss", "test/loss", "model/parameters"} <= recorded


@pytest.fixture(scope="module")
def read() -> dict[str, DataModule]:
    """Data that were read, by their options but the size of a batch."""
    return {}


@pytest.mark.parametrize(("data", "model"), [pair for pair in FITTING if pair not in WHOLE])
def test_every_further_pair_that_fits_takes_a_step(
    data: str, model: str, options: Callable[[str], list[str]], read: dict[str, DataModule], train: Train
) -> None:
    asked = [f"data={data}", f"model={model}", *options(data), *SMALL.get(model, QUICK)]
    composition = lantu.compose(*asked)
    cfg = complete_config(composition)
    node = {name: value for name, value in cfg.data.items() if name != "batch_size"}
    examples = read.setdefault(str(node), build(cfg.data))
    examples.batch_size = cfg.data.batch_size
    publish_facts(cfg, examples, composition)
    task = build_task(cfg).train()
    if not task.automatic_optimization:  # steps its optimizers itself, which takes a trainer
        assert "val/loss" in train(*SHORT, *asked).metrics
        return
    loss = task.training_step(next(iter(examples.train_dataloader())), 0)
    assert loss is not None
    loss.backward()
    gradients = [each.grad for each in task.parameters() if each.grad is not None]
    assert any(each.abs().sum() > 0 for each in gradients)
    assert all(each.isfinite().all() for each in gradients)
    with torch.no_grad():
        task.eval().validation_step(next(iter(examples.val_dataloader())), 0)
    assert task.mean_loss["val_"].compute().isfinite()  # type: ignore[operator]


@pytest.mark.parametrize(("data", "model"), one_for_each([pair for pair in PAIRS if pair not in FITTING]))
def test_a_pair_that_does_not_fit_is_refused_by_the_fact_that_is_missing(
    data: str, model: str, own_data: dict[str, list[str]], train_shortly: Train, tmp_path: Path
) -> None:
    by = rf"(model={model}|task=\w+)"  # or the task that the model chooses
    with pytest.raises(lantu.UserError, match=rf"`{by}` needs .* `data={data}` does not provide"):
        train_shortly(f"data={data}", f"model={model}", *own_data.get(data, []))
    assert not list(tmp_path.iterdir()), "something was written for a pair that cannot run"


def test_every_model_fits_some_data_and_every_data_set_some_model() -> None:
    assert all(FITS.values())
    assert set(MODELS) <= set().union(*FITS.values())
