"""What a language model writes: from prompts, in pieces, with stop texts; and its sample."""

from math import exp, log

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lantu.errors import UserError
from lantu.models import GPT, RNN
from lantu.tasks import LanguageModeling

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def encode(text):
    return [LETTERS.index(letter) for letter in text]


def decode(tokens):
    return "".join(LETTERS[token] for token in tokens)


def utf8(tokens):
    return bytes(tokens).decode("utf-8", errors="replace")


class Recites(nn.Module):
    """Goes round in a circle of tokens."""

    def __init__(self, circle, vocabulary):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocabulary, vocabulary))
        with torch.no_grad():
            for here, there in zip(circle, [*circle[1:], circle[0]], strict=True):
                self.weight[here, there] = 50.0
        self.dropout = nn.Dropout(0.9)

    def forward(self, tokens):
        return self.dropout(self.weight[tokens])


def alphabet(**options):
    return LanguageModeling(Recites(list(range(26)), 26), bytes_per_token=1.0, context=8, **options)


def test_write_returns_the_prompt_and_what_follows():
    assert alphabet().generate_text(encode, decode, prompt="cd", tokens=5) == "cdefghi"


def test_dropout_is_off_while_writing_and_every_part_returns_to_its_mode():
    task = alphabet().train()
    frozen = nn.Linear(1, 1).eval()
    task.net.frozen = frozen
    assert task.generate_text(encode, decode, prompt="a", tokens=30) == "a" + (LETTERS[1:] + LETTERS)[:30]
    assert task.net.training
    assert task.net.dropout.training
    assert not frozen.training


def test_the_mode_returns_even_if_the_reader_stops_early_or_an_option_is_wrong():
    task = alphabet().train()
    pieces = task.stream(encode, decode, prompt="a", tokens=9)
    assert next(pieces) == "b"
    pieces.close()
    assert task.net.training
    with pytest.raises(UserError, match="top_k"):
        task.generate_text(encode, decode, prompt="a", top_k=0)
    assert task.net.training


def test_pieces_of_a_stream_make_the_text():
    task = alphabet()
    pieces = list(task.stream(encode, decode, prompt="x", tokens=6))
    assert pieces == list("yzabcd")


def test_a_character_of_several_bytes_is_shown_once_it_is_whole():
    circle = list("aé漢".encode())
    task = LanguageModeling(Recites(circle, 256), bytes_per_token=1.0, context=8)
    pieces = list(task.stream(lambda text: list(text.encode()), utf8, prompt="a", tokens=11))
    assert pieces == ["é", "漢", "a", "é", "漢"]


def test_a_stop_text_ends_the_text_and_is_left_out_even_over_several_tokens():
    task = alphabet()
    assert task.generate_text(encode, decode, prompt="a", tokens=20, stop=["fgh"]) == "abcde"
    assert task.generate_text(encode, decode, prompt="a", tokens=20, stop=["xyz", "def", "k"]) == "abc"
    pieces = list(task.stream(encode, decode, prompt="a", tokens=20, stop=["fgh"]))
    assert "".join(pieces) == "bcde"  # nothing of the stop was shown before it was known
    assert task.generate_text(encode, decode, prompt="a", tokens=6, stop=["fghxxx"]) == "abcdefg"


@pytest.mark.parametrize(
    "net",
    [GPT(26, 8, width=16, layers=1, heads=2), RNN(26, 26, per_token=True)],
    ids=["GPT", "RNN"],
)
def test_texts_written_together_are_those_written_alone_each_up_to_its_own_stop(net):
    task = LanguageModeling(net, bytes_per_token=1.0, context=8)
    prompts = ["abc", "z", "hello", "longerthanthecontext", "ab", "zz"]
    options = {"tokens": 25, "temperature": 0, "repetition_penalty": 1.2}
    free = [task.generate_text(encode, decode, prompt=each, **options) for each in prompts]
    assert task.generate_texts(encode, decode, prompts=prompts, batch_size=4, **options) == free
    options["stop"] = [free[0][8:10], free[2][12:14]]
    alone = [task.generate_text(encode, decode, prompt=each, **options) for each in prompts]
    assert alone != free
    assert task.generate_texts(encode, decode, prompts=prompts, batch_size=4, **options) == alone


def test_nothing_is_written_after_the_end_of_a_document():
    task = alphabet(end_id=LETTERS.index("h"))
    assert task.generate_text(encode, decode, prompt="d", tokens=20) == "defg"
    assert task.generate_texts(encode, decode, prompts=["d", "fg", "i"], tokens=5) == ["defg", "fg", "ijklmn"]


def test_an_empty_prompt_is_refused_in_a_sentence():
    with pytest.raises(UserError, match="at least one character"):
        alphabet().generate_text(encode, decode, prompt="")


@pytest.mark.parametrize(
    "net",
    [GPT(26, 8, width=16, layers=1, heads=2), RNN(26, 26, per_token=True)],
    ids=["GPT", "RNN"],
)
def test_texts_longer_than_the_context_are_written_from_long_prompts(net):
    task = LanguageModeling(net, bytes_per_token=1.0, context=8)
    text = task.generate_text(encode, decode, prompt="abcdefghijklmnop", tokens=30, temperature=0.7, top_k=5, top_p=0.9)
    assert text.startswith("abcdefghijklmnop")
    assert len(text) == 46


def measured(task, tmp_path):
    torch.manual_seed(1)
    tokens = torch.randint(26, (12, 9))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         default_root_dir=tmp_path)  # fmt: skip
    (found,) = trainer.test(task, DataLoader(TensorDataset(tokens[:, :-1], tokens[:, 1:]), batch_size=4), verbose=False)
    return tokens, dict(found)


def test_a_sample_goes_on_from_the_test_text_and_is_drawn_alike_without_touching_the_runs_random_numbers(tmp_path):
    torch.manual_seed(0)
    task = LanguageModeling(GPT(26, 8, width=16, layers=1, heads=2), bytes_per_token=1.0, context=8, sample_tokens=20)
    tokens, _ = measured(task, tmp_path)
    before = torch.get_rng_state()
    prompt, first = task.sample(decode)
    assert torch.equal(torch.get_rng_state(), before)
    assert prompt == decode(tokens[0, :4].tolist())
    assert first.startswith(prompt)
    assert len(first) == 24
    torch.rand(1)
    assert task.sample(decode) == (prompt, first)


def test_a_sample_leaves_the_random_numbers_alone_even_if_dropout_stays_on():
    net = RNN(26, 26, per_token=True, dropout=0.5, mc_dropout=True)
    task = LanguageModeling(net, bytes_per_token=1.0, context=8, sample_tokens=20)
    before = torch.get_rng_state()
    first = task.sample(decode)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert task.sample(decode) == first


def test_a_sample_needs_no_test_before_it():
    assert len(alphabet(sample_tokens=5).sample(decode)[1]) == 6


def test_perplexity_and_bits_per_byte_follow_from_the_loss(tmp_path):
    task = LanguageModeling(GPT(26, 8, width=16, layers=1, heads=2), bytes_per_token=2.5, context=8)
    tokens, found = measured(task, tmp_path)
    logits = task.net(tokens[:, :-1])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()
    assert found["test/loss"] == pytest.approx(loss, rel=1e-5)
    assert found["test/perplexity"] == pytest.approx(exp(loss), rel=1e-4)
    assert found["test/bits_per_byte"] == pytest.approx(loss / log(2) / 2.5, rel=1e-4)


def test_wrong_label_smoothing_is_refused():
    with pytest.raises(UserError, match=r"task\.label_smoothing=1"):
        alphabet(label_smoothing=1.0)
