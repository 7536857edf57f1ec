"""Answer questions in words of one's own."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.slice_names import slice_name
from lantu.tasks.answer_scores import answer_scores
from lantu.tasks.language_modeling import LanguageModeling
from lantu.tasks.text_generation import Decode, Encode

SHOWN = 8
"""Questions that a validation shows the answers to."""
SCORES = ("exact_match", "token_f1", "chrf")
AT_ONCE = 128
"""Questions that are answered in one batch."""


class Answering(LanguageModeling):
    """Language modelling whose targets are answers: `lantu.data.DialogueDataModule`.

    At the test every different held-out question is answered, always with the likeliest token, and the answers are
    compared with those that people gave: `test/exact_match`, `test/token_f1` and `test/chrf`, in [0, 1], the last also
    of each language (see `lantu.tasks.answer_scores`). `trainer.limit_test_batches` limits the questions as well.

    Args:
        max_answer: the most tokens of an answer; at most half of the context, so that its question stays in sight.
        options: of `LanguageModeling`.
    """

    def __init__(self, *args: Any, max_answer: int = 64, **options: Any) -> None:
        super().__init__(*args, **options)
        if max_answer < 1:
            raise UserError(f"`task.max_answer={max_answer}` must be at least 1 token.")
        self.max_answer = min(max_answer, self.context - self.context // 2) if self.context else max_answer
        self.answered: pd.DataFrame | None = None
        """The test's questions: question, answers (those that people gave), language, answer, and its scores."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if not hasattr(getattr(self.trainer, "datamodule", None), "references"):
            raise UserError("`task=answering` needs questions and answers: `data=dialogues data.path=FILE`.")

    def answer_all(self, data: Any, questions: list[str]) -> list[str]:
        """The answer to each question, the likeliest token always being taken.

        Args:
            data: a `DialogueDataModule`.
        """
        prompts = [data.prompt(question) for question in questions]
        texts = self.generate_texts(
            data.encode, data.decode, prompts=prompts, tokens=self.max_answer, stop=data.stops, batch_size=AT_ONCE,
            temperature=0,
        )  # fmt: skip
        return [text[len(prompt) :].strip() for text, prompt in zip(texts, prompts, strict=True)]

    def stream(self, encode: Encode, decode: Decode, *, tokens: int = 200, **options: Any) -> Iterator[str]:
        """The answer to a question, in pieces as they are written; at most `max_answer` tokens."""
        return super().stream(encode, decode, tokens=self.most_tokens(tokens), **options)

    def generate_texts(self, encode: Encode, decode: Decode, *, tokens: int = 200, **options: Any) -> list[str]:
        """Questions, each with its answer of at most `max_answer` tokens."""
        return super().generate_texts(encode, decode, tokens=self.most_tokens(tokens), **options)

    def most_tokens(self, tokens: int) -> int:
        return min(tokens, self.max_answer)

    def sample(self, decode: Callable[[list[int]], str], *, stage: str = "test") -> tuple[str, str]:
        """Nothing, and the answers to the first questions of a part."""
        data: Any = self.trainer.datamodule
        questions = data.references[stage]["question"].tolist()[:SHOWN]
        return "", "\n\n".join(map("\n".join, zip(questions, self.answer_all(data, questions), strict=True)))

    def samples(self, data: DataModule, *, stage: str = "val") -> dict[str, Any]:
        """Answers to the first validation questions; of the test a table of every question's answer and its scores."""
        if stage == "val":
            return super().samples(data, stage=stage)
        return {"answers_test": self._answer_test()}

    def on_test_start(self) -> None:
        super().on_test_start()
        self.answered = None

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        found = self._answer_test()
        values = {name: found[name].mean() for name in SCORES}
        if self.trainer.datamodule.language:
            for language, scores in found.groupby("language")["chrf"]:
                values[slice_name("chrf", "language", language)] = scores.mean()
        self.log_dict({f"test/{name}": torch.tensor(float(value)) for name, value in values.items()})

    def _answer_test(self) -> pd.DataFrame:
        """Answer the test's questions, once a test; every rank does, since a network may be spread over all of them."""
        if self.answered is None:
            data: Any = self.trainer.datamodule
            questions = data.references["test"].head(sum(self.trainer.num_test_batches) * data.batch_size)
            found = questions.assign(answer=self.answer_all(data, questions["question"].tolist()))
            self.answered = found.assign(**answer_scores(found["answer"].tolist(), found["answers"].tolist()))
        return self.answered
