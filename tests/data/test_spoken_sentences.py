"""Commands that eSpeak NG speaks: sentences by a pattern, the slots of real recordings, and recordings kept."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lantu.data import SlotDataModule, SpeechDataModule, joined_recordings, spoken_sentences
from lantu.data.audio.spoken_sentences import composed, phrased
from lantu.errors import UserError

SENTENCES = ["(may I have|I want) a [{size}] {drink} [with {milk}]"]
SLOTS = ["drink", "size", "milk"]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("validation", 4), ("test", 4)):
        (folder / part).mkdir(parents=True)
        lines = ["file_name,intent,drink,size,milk"]
        for number in range(count):
            soundfile.write(folder / part / f"{number}.wav", 0.1 * rng.normal(size=4000), 8000)
            lines.append(f"{number}.wav,order,{('tea', 'coffee')[number % 2]},{('', 'large')[number % 3 > 0]},milk")
        (folder / part / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_a_pattern_chooses_alternatives_and_leaves_out_what_is_not_filled() -> None:
    rng = np.random.default_rng(0)
    filled = {"drink": "tea", "size": None, "milk": "some cream"}
    found = {phrased(SENTENCES[0], filled, rng) for _ in range(30)}
    assert found == {"may I have a tea with some cream", "I want a tea with some cream"}


def test_composed_commands_say_every_slot_that_is_filled() -> None:
    rows = pd.DataFrame({"drink": ["tea", "mocha"], "size": [None, "large"], "milk": ["cream", float("nan")]})
    made = composed(rows, sentences=SENTENCES, slots=SLOTS, count=40, seed=0)
    assert {each["size"] for each in made} == {None, "large"}
    for each in made:
        for name in SLOTS:
            assert each[name] is None or each[name] in each["transcription"]
    assert made == composed(rows, sentences=SENTENCES, slots=SLOTS, count=40, seed=0)


def test_a_pattern_without_a_slot_is_refused(orders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks the slot \{milk\}"):
        spoken_sentences(str(orders), sentences=["a {size} {drink}"], slots=SLOTS, spoken=str(tmp_path / "made"))


def test_without_espeak_a_sentence_says_what_to_install(
    orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        spoken_sentences(str(orders), sentences=SENTENCES, slots=SLOTS, spoken=str(tmp_path / "made"))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed")
def test_spoken_commands_join_real_recordings_in_training_alone_and_are_made_once(
    orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"sentences": SENTENCES, "slots": SLOTS, "spoken": str(tmp_path / "made"), "count": 20}
    raw = spoken_sentences(str(orders), **options)  # type: ignore[arg-type]
    made = raw.rows["transcription"] != ""
    assert made.sum() == 20
    assert set(raw.split[made]) == {"train"}
    assert set(raw.rows["intent"]) == {"order"}
    monkeypatch.setenv("PATH", "")  # what was made is kept
    data = SlotDataModule(source=lambda: spoken_sentences(str(orders), **options), slots=SLOTS, intent="intent")  # type: ignore[arg-type]
    data.prepare_data()
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 32, "val": 4, "test": 4}  # type: ignore[arg-type]
    speech = SpeechDataModule(source=lambda: spoken_sentences(str(orders), real="none", **options))  # type: ignore[arg-type]
    speech.prepare_data()
    assert {name: len(part) for name, part in speech.splits.items()} == {"train": 16, "val": 2, "test": 2}  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed")
def test_voices_speak_the_words_of_strings_in_training_alone(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = ["file_name,label,speaker"]
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.normal(size=2000), 8000)
        lines.append(f"{number}.wav,{('yes', 'no')[number % 2]},{('ann', 'bob', 'eve')[number % 3]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    raw = joined_recordings(
        str(folder), held_out={"speaker": ["eve"]}, words=["yes", "no"], voices=3, spoken=str(tmp_path / "made")
    )
    made = raw.rows["speaker"].str.startswith("espeak-")
    assert set(raw.split[made]) == {"train"}
    assert raw.rows["speaker"][made].nunique() == 3
    assert set(raw.rows["speaker"][raw.split == "test"]) == {"eve"}
    assert all(Path(file).is_file() for files in raw.rows["audio"] for file in files)


def test_the_config_of_a_run_reads_recordings_and_makes_none(orders: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(UserError, match="starts no program"):
        spoken_sentences(str(orders), sentences=SENTENCES, slots=SLOTS, spoken=str(made), make=False)
    assert not made.exists()
