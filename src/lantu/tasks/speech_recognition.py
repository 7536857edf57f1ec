"""Write down what is said, by connectionist temporal classification (CTC; Graves et al. 2006)."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection
from torchmetrics.text import CharErrorRate, WordErrorRate

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.tasks.baselines import Baseline
from lantu.tasks.ctc_decoding import BLANK, beam_search, greedy
from lantu.tasks.edits import distance, edits
from lantu.tasks.error_rates import error_rates
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task
from lantu.tasks.word_models import Lexicon, NGrams, WordModel
from lantu.tasks.word_times import word_times

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema


class SpeechRecognition(Task):
    """Networks answer {"logits": (N, T, symbols), "lengths": (N,)}; symbol 0 is the blank.

    The loss is the mean over recordings of the negative log likelihood of the transcript divided by its characters.
    `val/wer` and `val/cer` are the errors (substitutions, deletions, insertions) over all words or characters of the
    split.

    Args:
        characters: the symbols from 1 on: characters and, with `data.byte_pairs`, pieces of words.
        frame_seconds: from one input of the network to the next; None: predictions have no times of words.
        decoder: greedy, or beam: prefix beam search.
        lexicon: with `decoder=beam`, only the words of the training transcripts may occur, scored by a bigram model of
            them.
        language_model: with `decoder=beam`, an ARPA file (KenLM, SRILM): only its words may occur, scored by its
            n-grams.
        beam: texts that the beam search follows.
        word_weight: of the word model's log probability, beside that of the network.
        word_bonus: log probability added for every word: a larger one writes more and shorter words.
        options: of `Task`.
    """

    transcribes = True

    def __init__(
        self,
        net: nn.Module,
        *,
        characters: list[str],
        frame_seconds: float | None = None,
        decoder: str = "greedy",
        lexicon: bool = False,
        language_model: str | None = None,
        beam: int = 16,
        word_weight: float = 0.5,
        word_bonus: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if decoder not in ("greedy", "beam"):
            raise UserError(f"`task.decoder={decoder}`: the decoders are greedy and beam.")
        if lexicon and decoder == "greedy":
            raise UserError("`task.lexicon=true` needs `task.decoder=beam`: greedy search knows no words.")
        if language_model and (lexicon or decoder == "greedy"):
            raise UserError(f"`task.language_model={language_model}` needs `task.decoder=beam` and no `task.lexicon`.")
        if beam < 1:
            raise UserError(f"`task.beam={beam}` must be at least 1.")
        self.characters, self.decoder, self.beam = list(characters), decoder, beam
        self.word_weight, self.word_bonus = word_weight, word_bonus
        self.frame_seconds = frame_seconds
        self.uses_lexicon = lexicon
        self.language_model = language_model
        self.words: WordModel | None = None
        self.use_metrics(self._error_rates)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.language_model and self.words is None:  # a trained model has its n-grams with it
            self.words = NGrams.read(Path(self.language_model).expanduser())
        if self.uses_lexicon and self.words is None:
            texts = getattr(self.trainer.datamodule.splits["train"], "texts", None)
            if texts is None:
                raise UserError("`task.lexicon=true` needs transcripts to learn the words from.")
            self.words = Lexicon.of(texts)
        if self.words is not None and stage in ("fit", "test"):
            self._say_unknown_words(self.words.known)

    def _say_unknown_words(self, known: frozenset[str]) -> None:
        """Say how many words of the test part the search can never write: its word error rate has a lower bound."""
        texts = getattr(self.trainer.datamodule.splits.get("test"), "texts", None) or []
        spoken = [word for text in texts for word in text.split()]
        lacking = sum(word not in known for word in spoken)
        if lacking:
            option = "task.language_model" if self.language_model else "task.lexicon"
            warn_once(
                f"{lacking:,} of the {len(spoken):,} words of the test part are not among the {len(known):,} words of "
                f"`{option}` and are never written: the word error rate is at least {lacking / len(spoken):.3f}."
            )

    def get_extra_state(self) -> dict[str, Any]:
        """The model of words, which a checkpoint keeps: predictions are limited to the same words."""
        if isinstance(self.words, Lexicon):
            return {"pairs": {word: dict(after) for word, after in self.words.pairs.items()}}
        return {"order": self.words.order, "table": self.words.table} if isinstance(self.words, NGrams) else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if "pairs" in state:
            self.words = Lexicon.from_pairs(state["pairs"])
        elif state:
            self.words = NGrams(**state)

    def loss(self, output: dict[str, Tensor], y: dict[str, Any], *, stage: str) -> Tensor:
        # on the CPU: the backward pass on CUDA adds in any order, and a resumed run would end differently
        log_probs = output["logits"].float().log_softmax(-1).transpose(0, 1).cpu()
        lengths, sizes = output["lengths"].cpu(), y["lengths"].cpu()
        losses = F.ctc_loss(log_probs, y["tokens"].cpu(), lengths, sizes, blank=BLANK, reduction="none")
        possible = losses.isfinite()
        if not possible.all():
            warn_once(
                f"{int((~possible).sum())} recordings of a batch have fewer frames than their transcripts need and are "
                "left out of the loss. A smaller `data.hop` gives more frames; or the transcripts belong to others."
            )
        mean = (torch.where(possible, losses, 0.0) / sizes.clamp(min=1)).sum() / possible.sum().clamp(min=1)
        return mean.to(output["logits"].device)

    def _error_rates(self) -> MetricCollection:
        """Word and character error rate; with beam search also those of greedy search, as `greedy_wer`."""
        made = {"wer": WordErrorRate(), "cer": CharErrorRate()}
        if self.decoder == "beam":
            made |= {"greedy_wer": WordErrorRate(), "greedy_cer": CharErrorRate()}
        return MetricCollection(made, compute_groups=False)

    def weight(self, y: dict[str, Any]) -> int:
        return len(y["texts"])

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: dict[str, Any]) -> None:
        texts = self.decoded(output)
        by_frame = self.decoded(output, greedily=True) if self.decoder == "beam" else texts
        for name, metric in metrics.items(keep_base=True):
            metric.update(by_frame if name.startswith("greedy_") else texts, y["texts"])

    def decoded(self, output: dict[str, Tensor], *, greedily: bool = False) -> list[str]:
        """The text of each recording, with the task's decoder or by greedy search."""
        log_probs = output["logits"].float().log_softmax(-1).cpu().numpy()
        found = []
        for scores, length in zip(log_probs, output["lengths"].tolist(), strict=True):
            if greedily or self.decoder == "greedy":
                text = greedy(scores[:length].argmax(-1), self.characters)
            else:
                text = beam_search(
                    scores[:length], self.characters, words=self.words, beam=self.beam, weight=self.word_weight,
                    bonus=self.word_bonus,
                )  # fmt: skip
            found.append(" ".join(text.split()))
        return found

    def collect(self, output: dict[str, Tensor], y: dict[str, Any]) -> Outputs:
        kept = {"text": self.decoded(output), "truth": list(y["texts"]), "confidence": confidence(output)}
        if "speakers" in y and self.frame_seconds is not None:
            kept |= {"speaker": list(y["speakers"]), "seconds": y["frames"].cpu() * self.frame_seconds}
        return kept

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Outputs:
        """As `predictions`, and the times of the words as "words"."""
        output = self(batch)
        found = self.predictions(output)
        if self.frame_seconds is not None:
            seconds = batch["lengths"].cpu() / output["lengths"].cpu().clamp(min=1) * self.frame_seconds
            log_probs = output["logits"].float().log_softmax(-1).cpu()
            lengths = output["lengths"].tolist()
            found["words"] = [
                word_times(log_probs[row, : lengths[row]], text, self.characters, seconds=float(seconds[row]))
                for row, text in enumerate(found["text"])
            ]
        return found

    def predictions(self, output: dict[str, Tensor]) -> Outputs:
        """The text of each of N recordings, and how sure it is: the mean probability of each frame's symbol."""
        return {"text": self.decoded(output), "confidence": confidence(output)}

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """`text`, `confidence` in [0, 1], and `words`: a JSON list of word, start and end in seconds, confidence."""
        import pandas as pd

        frame = pd.DataFrame({"text": outputs["text"], "confidence": outputs["confidence"].double().numpy()})
        return frame.assign(words=[json.dumps(each) for each in outputs["words"]]) if "words" in outputs else frame

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        words = [] if self.frame_seconds is None else [ColSpec("string", "words")]
        return Schema([ColSpec("string", "text"), ColSpec("double", "confidence"), *words])

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """The transcript, what was recognised, and the errors in words and in characters."""
        errors = [edits(truth.split(), text.split()) for truth, text in _pairs(outputs)]
        columns: dict[str, Any] = {} if "row" not in outputs else {"row": outputs["row"]}
        return {
            **columns,
            "target": outputs["truth"],
            "prediction": outputs["text"],
            "words": [len(truth.split()) for truth in outputs["truth"]],
            "errors": [sum(each.values()) for each in errors],
            "characters": [len(truth) for truth in outputs["truth"]],
            "character_errors": [distance(truth, text) for truth, text in _pairs(outputs)],
            "confidence": outputs["confidence"].numpy(),
            **{name: outputs[name] for name in ("speaker", "seconds") if name in outputs},
        }

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: the recordings with most errors, which words were confused, errors by speaker and duration."""
        if stage != "test" or not outputs:
            return
        import pandas as pd

        counts: Counter[tuple[str, str]] = Counter()
        for truth, text in _pairs(outputs):
            counts.update(edits(truth.split(), text.split()))
        table = [
            (said or "(inserted)", heard or "(deleted)", number) for (said, heard), number in counts.most_common(50)
        ]
        yield "word_errors", pd.DataFrame(table, columns=["said", "recognised", "times"])
        yield "error_rates", error_rates(pd.DataFrame(self.per_example(outputs)))
        frame = pd.DataFrame(self.per_example(outputs)).sort_values("errors", ascending=False, kind="stable")
        yield "worst_recordings", frame.head(50)

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        """Always the commonest transcript of the training split."""
        import time

        begun = time.perf_counter()
        texts: list[str] = data.splits["train"].texts  # type: ignore[attr-defined]
        commonest = Counter(texts).most_common(1)[0][0]
        found = {}
        for split in ("val", "test"):
            truths = getattr(data.splits.get(split), "texts", None)
            if truths:
                for name, metric in (("wer", WordErrorRate()), ("cer", CharErrorRate())):
                    found[f"{split}/{name}"] = float(metric([commonest] * len(truths), truths))
        return [Baseline("trivial", "the commonest transcript", found, time.perf_counter() - begun)]


def confidence(output: dict[str, Tensor]) -> Tensor:
    """The mean over a recording's frames of the probability of the likeliest symbol (N,)."""
    best = output["logits"].float().softmax(-1).amax(-1)
    inside = torch.arange(best.shape[1], device=best.device)[None] < output["lengths"][:, None]
    return ((best * inside).sum(1) / output["lengths"].clamp(min=1)).cpu()


def _pairs(outputs: Outputs) -> Iterator[tuple[str, str]]:
    return zip(outputs["truth"], outputs["text"], strict=True)
