"""Slots from texts: a run from end to end, prediction, and what is refused."""

from pathlib import Path

import pandas as pd
import pytest
import soundfile

import lantu
from lantu.cli.main import main

SENTENCE = (
    "(hi|hey|well|so|now|ok) (may I have|I want|I need|bring|get me|make) (us|me|one) a [{size}] {drink} "
    "(please|now|soon)"
)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings whose slots the texts take; nothing is heard in them."""
    folder = tmp_path_factory.mktemp("orders")
    lines = ["file_name,intent,drink,size"]
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", [0.0, 0.1] * 2000, 8000)
        lines.append(f"{number}.wav,order,{('tea', 'iced tea', 'milk')[number % 3]},{('', 'large')[number % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(orders: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    root = tmp_path_factory.mktemp("run")
    typed = [
        "data=spoken_order_texts", f"data.source.path={orders}", "data.slots=[drink,size]", "data.level=word",
        f"data.source.sentences=['{SENTENCE}']", "data.source.count=200",
        "model=fasttext", "model.buckets=64", "optimizer.lr=0.05", "trainer.max_epochs=8",
        "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "++callbacks.figures=null",
        f"paths.root={root}",
    ]  # fmt: skip
    return lantu.run(lantu.compose(*typed))


def test_slots_of_texts_are_learned_and_predicted_from_a_table(trained: lantu.Result, tmp_path: Path) -> None:
    assert trained.metrics["test/slot_f1"] > 0.9
    assert not any("snr" in name for name in trained.metrics)  # noise is for recordings
    pd.DataFrame({"transcription": ["May I have a large iced tea?", "bring us a milk"]}).to_csv(
        tmp_path / "in.csv", index=False
    )
    typed = ["predict", f"run={trained.run_dir}", f"input={tmp_path}/in.csv", f"output={tmp_path}/out.csv"]
    assert main(typed) == 0
    answer = pd.read_csv(tmp_path / "out.csv").fillna("")
    assert answer["drink"].tolist() == ["iced tea", "milk"]
    assert answer["size"].tolist() == ["large", ""]


def test_a_model_of_texts_needs_a_recogniser_before_it(
    trained: lantu.Result, orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assistant", f"input={orders / '0.wav'}", f"understand={trained.run_dir}"]) == 2
    assert "add `recognise=RUN`" in capsys.readouterr().err


def test_texts_without_recordings_cannot_stand_beside_real_ones(
    orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["data=spoken_order_texts", f"data.source.path={orders}", "data.source.real=all", "model=fasttext"]
    assert main(["train", *typed, "data.slots=[drink,size]", f"paths.root={tmp_path}"]) == 2
    assert "data.source.spoken=null" in capsys.readouterr().err
