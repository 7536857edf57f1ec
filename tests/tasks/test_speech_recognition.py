"""Connectionist temporal classification against brute force, decoding, errors, and a run from end to end."""

import gzip
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torchmetrics.text import CharErrorRate, WordErrorRate

import lantu
import lantu.notices
from lantu.cli.main import main
from lantu.data import SpeechDataModule, joined_recordings
from lantu.data.audio.duration_batches import DurationBatches
from lantu.data.audio.symbols import divided, learned_symbols, unknown_parts, whole_words
from lantu.data.samplers import Chosen, TrainingBatches
from lantu.errors import UserError
from lantu.models import CTCNetwork
from lantu.models.ctc import StreamState
from lantu.tasks import SpeechRecognition
from lantu.tasks.ctc_decoding import beam_search, greedy
from lantu.tasks.edits import distance, edits
from lantu.tasks.error_rates import error_rates
from lantu.tasks.word_models import Lexicon, NGrams
from lantu.tasks.word_times import word_times
from lantu.training.callbacks.interruptible import Interruptible

CHARACTERS = ["a", "b"]


def collapsed(path: tuple[int, ...]) -> str:
    return greedy(np.array(path), CHARACTERS)


@pytest.fixture
def scores() -> np.ndarray:
    """Log probabilities (frames, symbols) of a blank, "a" and "b"."""
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).log_softmax(-1).numpy()


def probabilities(scores: np.ndarray) -> Counter[str]:
    """Of every text, summed over all ways to align it."""
    found: Counter[str] = Counter()
    for path in itertools.product(range(3), repeat=len(scores)):
        found[collapsed(path)] += float(np.exp(sum(scores[frame, symbol] for frame, symbol in enumerate(path))))
    return found


@pytest.mark.parametrize("text", ["a", "ab", "aa", "bab"])
def test_the_loss_is_the_probability_of_all_alignments(scores: np.ndarray, text: str) -> None:
    task = SpeechRecognition(torch.nn.Identity(), characters=CHARACTERS)
    tokens = torch.tensor([[CHARACTERS.index(each) + 1 for each in text]])
    output = {"logits": torch.from_numpy(scores)[None], "lengths": torch.tensor([len(scores)])}
    loss = task.loss(output, {"tokens": tokens, "lengths": torch.tensor([len(text)]), "texts": [text]}, stage="train")
    assert float(loss) == pytest.approx(-np.log(probabilities(scores)[text]) / len(text), rel=1e-4)


def test_beam_search_finds_the_likeliest_text_where_greedy_search_need_not(scores: np.ndarray) -> None:
    found = probabilities(scores)
    assert beam_search(scores, CHARACTERS, beam=50) == max(found, key=lambda text: found[text])
    # two frames: a blank is likeliest in each, but "a" in either of them together is likelier
    unsure = np.log(np.array([[0.6, 0.4, 1e-9], [0.6, 0.4, 1e-9]]))
    assert greedy(unsure.argmax(-1), CHARACTERS) == ""
    assert beam_search(unsure, CHARACTERS) == "a"


def test_beam_search_over_pieces_sums_over_all_divisions_of_a_text() -> None:
    pieces = ["a", "b", "ab"]
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(3)).log_softmax(-1).numpy()
    found: Counter[str] = Counter()
    for path in itertools.product(range(4), repeat=len(scores)):
        text = greedy(np.array(path), pieces)
        found[text] += float(np.exp(sum(scores[frame, symbol] for frame, symbol in enumerate(path))))
    assert beam_search(scores, pieces, beam=500) == max(found, key=lambda text: found[text])


def test_byte_pairs_are_learned_from_transcripts_and_join_to_them_again() -> None:
    texts = ["three one four", "one one two", "four three two"] * 5
    symbols = learned_symbols(texts, 40)
    assert {" one", "three"} <= set(symbols)
    places = {symbol: number for number, symbol in enumerate(symbols)}
    for text in [*texts, "to the hero"]:
        assert "".join(divided(text, places)) == text
    assert divided("one two", places) == ["one", " two"]
    assert divided("one", {sign: number for number, sign in enumerate(learned_symbols(texts, None))}) == list("one")
    with pytest.raises(UserError, match="have 10 characters"):
        learned_symbols(texts, 5)


def test_whole_words_as_symbols_join_to_the_transcript_and_to_nothing_else() -> None:
    symbols = whole_words(["one two", "two three"])
    assert symbols == ["one ", "three ", "two "]
    places = {symbol: number for number, symbol in enumerate(symbols, start=1)}
    assert divided("two one four two", places) == ["two ", "one ", "two "], "four is no word of the training"
    assert unknown_parts(["two one four", "five"], symbols) == ["five", "four"]
    assert unknown_parts(["two ox"], learned_symbols(["one two"], None)) == ["x"]
    scores = np.log(np.full((5, 4), 1e-6) + np.eye(4)[[3, 0, 3, 1, 0]])
    assert greedy(scores.argmax(-1), symbols).split() == ["two", "two", "one"]
    assert beam_search(scores, symbols, words=Lexicon.of(["one two two"])).split() == ["two", "two", "one"]
    found = word_times(torch.from_numpy(scores).log_softmax(-1), "two two one", symbols, seconds=0.1)
    assert [(each["word"], each["start"]) for each in found] == [("two", 0.0), ("two", 0.2), ("one", 0.3)]


def test_words_of_pieces_have_times_as_well() -> None:
    pieces = [" ", "e", "n", "o", "t", "w", "ne", "one", " t", " tw", " two"]
    scores = torch.full((8, 12), -9.0)
    scores[:, 0] = 0.0
    for frame, symbol in ((1, "one"), (5, " two")):
        scores[frame, pieces.index(symbol) + 1] = 9.0
    found = word_times(scores.log_softmax(-1), "one two", pieces, seconds=0.02)
    assert [(each["word"], each["start"]) for each in found] == [("one", 0.02), ("two", 0.1)]


def test_beam_search_states_the_errors_of_greedy_search_as_well() -> None:
    task = SpeechRecognition(torch.nn.Identity(), characters=CHARACTERS, decoder="beam")
    unsure = torch.tensor([[[0.6, 0.4, 1e-9], [0.6, 0.4, 1e-9]]]).log()  # greedy search reads "", beam search "a"
    metrics = task.metrics["test_"]
    task.observe(metrics, {"logits": unsure, "lengths": torch.tensor([2])}, {"texts": ["a"]})  # type: ignore[arg-type]
    found = {name: float(value) for name, value in metrics.compute().items()}  # type: ignore[operator]
    assert found == {"test/wer": 0, "test/cer": 0, "test/greedy_wer": 1, "test/greedy_cer": 1}


def test_with_a_lexicon_only_its_words_are_recognised() -> None:
    characters = [" ", "e", "n", "o", "t", "w"]
    lexicon = Lexicon.of(["one two", "two two"])
    rng = np.random.default_rng(0)
    for _ in range(5):
        scores = np.log(rng.dirichlet(np.ones(7) * 0.3, size=12))
        text = beam_search(scores, characters, words=lexicon)
        assert set(text.split()) <= {"one", "two"}
    sure_of_nothing_allowed = np.log(np.full((3, 7), 1e-12) + np.eye(7)[[2, 2, 2]])
    assert beam_search(sure_of_nothing_allowed, characters, words=lexicon) == ""


def test_bigram_probabilities_sum_to_one() -> None:
    lexicon = Lexicon.of(["one two three", "one three", "two two"])
    for before in ("", "one", "two", "never"):
        assert sum(
            np.exp(lexicon.log_probability(word, [before] if before else [])) for word in lexicon.words
        ) == pytest.approx(1)


def test_edits_are_those_of_the_word_error_rate() -> None:
    truth, text = ["one", "two", "three", "four"], ["one", "too", "three", "four", "four"]
    found = edits(truth, text)
    assert found == {("two", "too"): 1, ("", "four"): 1}
    rate = float(WordErrorRate()([" ".join(text)], [" ".join(truth)]))
    assert sum(found.values()) / len(truth) == pytest.approx(rate)


def test_errors_in_characters_are_those_of_the_character_error_rate() -> None:
    texts = {"kitten": "sitting", "one two": "", "a": "one two three", "three": "there"}
    for truth, text in texts.items():
        assert distance(truth, text) / len(truth) == pytest.approx(float(CharErrorRate()([text], [truth])))


ARPA = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.9\t</s>
-0.4\tone\t-0.3
-0.6\ttwo\t-0.2

\\2-grams:
-0.2\t<s> one\t-0.1
-0.7\tone two\t-0.05
-0.1\ttwo one

\\3-grams:
-0.05\t<s> one two

\\end\\
"""


def test_an_arpa_model_backs_off_to_shorter_contexts(tmp_path: Path) -> None:
    (tmp_path / "words.arpa").write_text(ARPA)
    with gzip.open(tmp_path / "words.arpa.gz", "wt") as file:
        file.write(ARPA)
    for name in ("words.arpa", "words.arpa.gz"):
        model = NGrams.read(tmp_path / name)
        assert (model.order, model.known) == (3, {"one", "two"})
        found = [
            model.log_probability("two", ["one"]),  # <s> one two
            model.log_probability("one", []),  # <s> one
            model.log_probability("two", []),  # backs off from <s>
            model.log_probability("one", ["two", "one"]),  # nothing of "two one one" or "one one" is known
            model.log_probability("one", ["one", "two"]),  # backs off from "one two" to "two one"
        ]
        assert [each / math.log(10) for each in found] == pytest.approx(
            [-0.05, -0.2, -0.5 - 0.6, -0.3 - 0.4, -0.05 - 0.1]
        )


def test_a_search_with_an_arpa_model_writes_its_words_and_prefers_the_likelier(tmp_path: Path) -> None:
    (tmp_path / "words.arpa").write_text(ARPA)
    characters = sorted(set("onetw "))
    scores = np.full((9, len(characters) + 1), -5.0)
    for frame, sign in enumerate("two "):  # "two" and "one" sound alike
        scores[frame, characters.index(sign) + 1] = -1.0
    for frame, sign in enumerate("one "):
        scores[frame, characters.index(sign) + 1] = np.maximum(scores[frame, characters.index(sign) + 1], -1.1)
    scores[4:] = [0.0] + [-9.0] * len(characters)
    model = NGrams.read(tmp_path / "words.arpa")
    assert beam_search(scores, characters).split() == ["two"]
    assert beam_search(scores, characters, words=model, weight=2.0).split() == ["one"]


def test_a_checkpoint_keeps_the_n_grams(tmp_path: Path) -> None:
    (tmp_path / "words.arpa").write_text(ARPA)
    options: dict[str, Any] = {"characters": CHARACTERS, "decoder": "beam"}
    task = SpeechRecognition(torch.nn.Identity(), language_model=str(tmp_path / "words.arpa"), **options)
    task.words = NGrams.read(tmp_path / "words.arpa")
    again = SpeechRecognition(torch.nn.Identity(), language_model="no longer there", **options)
    again.load_state_dict(task.state_dict())
    assert again.words == task.words
    with pytest.raises(UserError, match=r"task\.language_model=a.arpa` needs `task\.decoder=beam"):
        SpeechRecognition(torch.nn.Identity(), language_model="a.arpa", characters=CHARACTERS)


@pytest.mark.parametrize("text", ["", "no model", ARPA.replace("-0.7\tone two", "x\tone two"), "\\2-grams:\n-1\tone\n"])
def test_a_file_that_is_no_arpa_model_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "words.arpa").write_text(text)
    with pytest.raises(UserError, match=r"task\.language_model=.*words.arpa"):
        NGrams.read(tmp_path / "words.arpa")


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_causal_network_gives_the_same_output_in_chunks_as_at_once(recurrent: bool) -> None:
    torch.manual_seed(0)
    net = CTCNetwork(20, 7, width=16, layers=2, recurrent=recurrent, causal=True).eval()
    features, state = torch.randn(2, 20, 61), StreamState()
    with torch.inference_mode():
        whole = net({"features": features, "lengths": torch.tensor([61, 61])})["logits"]
        chunks = [net.stream(chunk, state) for chunk in features.split([2, 30, 4, 20, 5], dim=2)]
    torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_a_network_that_looks_ahead_refuses_to_stream() -> None:
    with pytest.raises(lantu.UserError, match=r"model\.causal=true"):
        CTCNetwork(20, 7, width=16, layers=1).stream(torch.randn(1, 20, 4), StreamState())


def test_batches_by_length_hold_every_example_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 400, size=640)
    batches = list(TrainingBatches(640, batch_size=16, seed=3, epoch=1, lengths=lengths))
    assert sorted(itertools.chain(*batches)) == list(range(640))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert lengths.sum() / padded > 0.95
    assert batches == list(TrainingBatches(640, batch_size=16, seed=3, epoch=1, lengths=lengths))
    resumed = list(TrainingBatches(640, batch_size=16, seed=3, epoch=1, start=7, lengths=lengths))
    assert resumed == batches[7:]


def test_batches_by_duration_hold_every_recording_once_within_the_budget_and_resume() -> None:
    rng = np.random.default_rng(0)
    seconds = np.append(rng.lognormal(0.8, 0.7, size=800), 75.0)  # one is longer than the budget
    asked: dict[str, Any] = {"budget": 40.0, "seed": 3}
    batches = list(DurationBatches(seconds, epoch=1, **asked))
    assert sorted(itertools.chain(*batches)) == list(range(801))
    padded = [len(batch) * seconds[batch].max() for batch in batches]
    assert sorted(padded)[-1] == 75.0
    assert sorted(padded)[-2] <= 40.0
    assert seconds.sum() / sum(padded) > 0.95
    assert list(DurationBatches(seconds, epoch=1, start=7, **asked)) == batches[7:]
    others = list(DurationBatches(seconds, epoch=2, **asked))
    assert len(others) == len(batches)
    assert {frozenset(each) for each in others} != {frozenset(each) for each in batches}, "membership changes as well"


def test_batches_by_duration_are_the_same_on_one_device_and_on_two() -> None:
    seconds = np.random.default_rng(0).uniform(1, 3, size=101)
    alone = DurationBatches(seconds, budget=12.0, seed=3)
    ranks = [DurationBatches(seconds, budget=12.0, seed=3, num_replicas=2, rank=rank) for rank in (0, 1)]
    for number, (batch, first, second) in enumerate(zip(alone, *ranks, strict=True)):
        assert [*first, *second] == list(batch)
        assert ranks[0].weight(number) == 2 * len(first) / len(batch)
    with pytest.raises(lantu.UserError, match=r"fewer than 2 recordings: the longest has 3\.0 s"):
        DurationBatches(seconds, budget=4.0, num_replicas=2, rank=0)


def test_words_have_the_times_at_which_their_characters_are_likeliest() -> None:
    characters = [" ", "a", "b"]
    frames = [0, 2, 2, 0, 3, 0, 1, 0, 3, 3]  # a at 1 and 2, b at 4, a space, b at 8 and 9
    log_probs = torch.log(torch.full((10, 4), 0.02) + 0.92 * torch.eye(4)[frames])
    found = word_times(log_probs, "ab b", characters, seconds=0.02)
    assert [(each["word"], each["start"], each["end"]) for each in found] == [("ab", 0.02, 0.1), ("b", 0.16, 0.2)]
    assert found[0]["confidence"] == pytest.approx(0.94, abs=1e-3)
    assert word_times(log_probs, "", characters, seconds=0.02) == []


def test_error_rates_by_speaker_and_duration_are_pooled_over_words_and_have_intervals() -> None:
    recordings = pd.DataFrame(
        {
            "words": [4, 2, 2, 8], "errors": [0, 1, 2, 1], "characters": [20, 10, 10, 40],
            "character_errors": [0, 2, 5, 1], "speaker": ["a", "a", "b", "b"], "seconds": [0.5, 3, 3, 20],
        }
    )  # fmt: skip
    table = error_rates(recordings).set_index(["group", "value"])
    assert table.loc[("all", ""), "wer"] == 4 / 16
    assert table.loc[("speaker", "b"), "wer"] == 3 / 10
    assert table.loc[("seconds", "2 to 4"), "words"] == 4
    assert table.loc[("seconds", "8 or more"), "low"] is None
    assert table.loc[("all", ""), "low"] < 4 / 16 < table.loc[("all", ""), "high"]
    assert table.loc[("speaker", "b"), "cer"] == 6 / 50
    assert table.loc[("all", ""), "cer_low"] < 8 / 80 < table.loc[("all", ""), "cer_high"]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Two "words" of two speakers as tones in a folder with a table."""
    folder = tmp_path / "words"
    folder.mkdir()
    lines = ["file_name,label,speaker"]
    for speaker, shift in (("ann", 1.0), ("bob", 1.1)):
        for number in range(20):
            frequency = (300, 1500)[number % 2] * shift
            wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(1600) / 8000) * np.hanning(1600)
            soundfile.write(folder / f"{speaker}{number}.wav", wave, 8000)
            lines.append(f"{speaker}{number}.wav,{number % 2},{speaker}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_strings_are_of_one_speaker_and_no_recording_is_in_two_parts(words: Path) -> None:
    raw = joined_recordings(str(words), repeats=2, held_out={"speaker": ["bob"]})
    of_part = {
        part: set(itertools.chain(*raw.rows.loc[raw.split == part, "audio"])) for part in ("train", "val", "test")
    }
    assert not of_part["train"] & of_part["val"]
    assert all("bob" in name for name in of_part["test"])
    for files, speaker in zip(raw.rows["audio"], raw.rows["speaker"], strict=True):
        assert all(Path(file).name.startswith(speaker) for file in files)


def batches_of(words: Path, **options: Any) -> tuple[SpeechDataModule, Any, Any]:
    """The training examples alone and in a padded batch, in the first epoch."""
    data = SpeechDataModule(source=lambda: joined_recordings(str(words)), **options)
    data.prepare_data()
    examples = data.splits["train"]
    chosen = [int(examples.lengths.argmin()), int(examples.lengths.argmax())]  # type: ignore[attr-defined]
    alone = [examples.__getitems__(Chosen([each], seed=0, epoch=0))[0] for each in chosen]  # type: ignore[attr-defined]
    return data, alone, examples.__getitems__(Chosen(chosen, seed=0, epoch=0))[0]  # type: ignore[attr-defined]


def test_recordings_normalised_by_themselves_are_the_same_alone_and_padded(words: Path) -> None:
    _, alone, both = batches_of(words, normalise="recording")
    for row, each in enumerate(alone):
        inside = both["features"][row, :, : int(each["lengths"][0])]
        torch.testing.assert_close(inside, each["features"][0])
        torch.testing.assert_close(inside.mean(1), torch.zeros(len(inside)), atol=1e-4, rtol=0)
        assert (both["features"][row, :, int(each["lengths"][0]) :] == 0).all()


def test_another_tempo_changes_the_frames_of_a_training_recording_within_its_share(words: Path) -> None:
    data, alone, both = batches_of(words, augment={"tempo": 0.2})
    for row, each in enumerate(alone):
        torch.testing.assert_close(both["features"][row, :, : int(each["lengths"][0])], each["features"][0])
    train = data.splits["train"]
    everything = list(range(len(train)))  # type: ignore[arg-type]
    drawn = train.__getitems__(Chosen(everything, seed=0, epoch=0))[0]["lengths"].numpy()  # type: ignore[attr-defined]
    paces = train.lengths / drawn  # type: ignore[attr-defined]
    assert 0.79 < paces.min() < 0.95
    assert 1.05 < paces.max() < 1.21
    assert (train.__getitems__(everything)[0]["lengths"].numpy() == train.lengths).all()  # type: ignore[attr-defined]
    assert data.augmented_sample() is not None


def test_held_out_recordings_that_training_has_as_well_are_a_warning(words: Path) -> None:
    def warnings() -> list[str]:
        data = SpeechDataModule(path=str(words), transcript="label")
        data.prepare_data()
        return data.report.warnings

    assert warnings() == [
        "8 recordings of validation and test are in training too; scores on them say nothing of new recordings"
    ]
    for number, file in enumerate(sorted(words.glob("*.wav"))):
        soundfile.write(file, 0.1 * np.random.default_rng(number).standard_normal(1600), 8000)
    assert warnings() == []


@pytest.mark.slow
def test_a_recogniser_trains_evaluates_and_predicts_with_its_lexicon(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lantu.notices, "_printed", set())
    table = words / "metadata.csv"
    table.write_text(table.read_text().replace("bob19.wav,1", "bob19.wav,2"))  # a word that training lacks
    typed = ["experiment=digit_strings", f"data.source.path={words}", "data.source.val=0.2", "trainer.max_epochs=12"]
    small = [
        "model.width=32",
        "model.layers=2",
        "model.halvings=1",
        "data.batch_size=4",
        "optimizer.lr=1e-2",
        "data.augment={}",
    ]
    by_duration = ["data.source.held_out={speaker:[bob]}", "data.source.longest=3", "data.batch_seconds=3"]
    assert main(["train", *typed, *small, *by_duration]) == 0
    assert "3 of the 60 words of the test part are not among the 2 words of `task.lexicon`" in capsys.readouterr().err
    assert main(["evaluate", "run=last"]) == 0
    assert "wer" in capsys.readouterr().out
    assert main(["predict", "run=last", f"input={words / 'bob0.wav'}", "output=heard.csv"]) == 0
    heard = pd.read_csv(tmp_path / "heard.csv", keep_default_na=False).iloc[0]
    assert set(heard["text"].split()) <= {"zero", "one"}
    words_heard = json.loads(heard["words"])
    assert [each["word"] for each in words_heard] == heard["text"].split()
    assert all(0 <= each["start"] < each["end"] <= 0.25 for each in words_heard)


def test_a_checkpoint_inside_an_epoch_of_another_budget_is_refused(words: Path) -> None:
    def data(seconds: float | None) -> SpeechDataModule:
        return SpeechDataModule(path=str(words), transcript="label", batch_seconds=seconds)

    first, same, other = data(3.0), data(3.0), data(5.0)
    first.prepare_data()
    for each in (same, other):
        each.load_state_dict(first.state_dict())
    assert same.batches_done(4, batch_size=64) == 4
    with pytest.raises(lantu.UserError, match="batch_seconds=3"):
        other.batches_done(4, batch_size=64)


@pytest.mark.slow
def test_a_run_with_batches_by_duration_resumes_inside_an_epoch_to_the_same_weights(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        "experiment=digit_strings", f"data.source.path={words}", "data.source.val=0.2", "trainer.max_epochs=2",
        "model.width=16", "model.layers=2", "model.halvings=1", "data.batch_seconds=3", "test=false",
        f"paths.root={tmp_path}",
        "logger.mlflow.ship=false", "save_model=false", "trainer.accelerator=cpu", "callbacks.resume.steps=3",
        "data.source.held_out={speaker:[bob]}",
    ]  # fmt: skip

    def stop(self: Interruptible, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 8:
            raise RuntimeError("stopped")

    whole = lantu.run(lantu.compose(*asked, f"paths.run={tmp_path}/whole"))
    assert whole.module.trainer.global_step > 8
    with monkeypatch.context() as patch:
        patch.setattr(Interruptible, "on_train_batch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            lantu.run(lantu.compose(*asked, f"paths.run={tmp_path}/cut"))
    cut = lantu.run(lantu.compose(*asked, f"paths.run={tmp_path}/cut", f"resume={tmp_path}/cut"))
    for name, weight in whole.module.state_dict().items():
        if isinstance(weight, torch.Tensor):
            assert torch.equal(weight, cut.module.state_dict()[name]), name
