"""A voice assistant of several trained runs: a recording in, what was understood and an answer out."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.tracking.find import find_checkpoint

if TYPE_CHECKING:
    import pandas as pd

STAGES = {
    "understand": "a run of task=slot_filling, from speech straight to slots or from what was recognised",
    "recognise": "a run of task=speech_recognition, which writes down what is said",
    "intent": "a text classifier of what was recognised",
    "answer": "a run of task=answering, which answers what was recognised",
    "speak": "a run of speech synthesis, which speaks the answer",
}
"""The stages in their order, and the run that each takes."""


@dataclass(frozen=True)
class Step:
    """What one stage made of a recording."""

    stage: str
    text: str
    confidence: float | None
    """In [0, 1]; None: the model does not say."""
    seconds: float
    audio: bytes | None = None
    """A WAV file, of the stage that speaks."""


def check_stages(runs: Mapping[str, str]) -> None:
    """Refuse stages that lack what they work on.

    Raises:
        UserError: saying which stage to add.
    """
    if not {"understand", "recognise"} & set(runs):
        raise UserError(
            "an assistant needs a model that listens: `understand=RUN` (speech to slots) or `recognise=RUN` (speech to "
            "text)."
        )
    for stage in ("intent", "answer"):
        if stage in runs and "recognise" not in runs:
            raise UserError(
                f"`{stage}={runs[stage]}` works on text: add `recognise=RUN`, which writes down what is said."
            )
    if "speak" in runs and not {"understand", "answer"} & set(runs):
        raise UserError(f"`speak={runs['speak']}` has nothing to say: add `answer=RUN` or `understand=RUN`.")


def load(runs: Mapping[str, str], *, store: Path) -> dict[str, Rebuilt]:
    """The model of each stage.

    Raises:
        UserError: there is no such run, or it kept no checkpoint.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    found = {}
    for stage, run in runs.items():
        try:
            found[stage] = rebuild(find_checkpoint(run, store=store, tracking_uri=uri))
        except UserError as error:
            raise UserError(str(error).replace(f"`run={run}`", f"`{stage}={run}`")) from error
    return found


def assist(recording: bytes, models: Mapping[str, Rebuilt]) -> Iterator[Step]:
    """Take a recording, an encoded file, through the stages, each as soon as it is done.

    Raises:
        UserError: the recording cannot be read, or a run is none that its stage takes.
    """
    import pandas as pd

    heard, reply = "", ""
    listens = "understand" in models and models["understand"].data.takes_recordings
    if listens:
        step = _understood(models, [recording])
        reply = step.text
        yield step
    if "recognise" in models:
        frame, seconds = _asked(models, "recognise", [recording], needs="text")
        heard = str(frame["text"][0])
        yield Step("recognise", heard, float(frame["confidence"][0]) if "confidence" in frame else None, seconds)
    if "understand" in models and not listens:
        if "recognise" not in models:
            raise UserError("`understand=` names a run that reads texts: add `recognise=RUN`, which writes them down.")
        step = _understood(models, pd.DataFrame({models["understand"].data.schema()[0]["name"]: [heard]}))
        reply = step.text
        yield step
    if "intent" in models:
        column = models["intent"].data.schema()[0]["name"]
        frame, seconds = _asked(models, "intent", pd.DataFrame({column: [heard]}), needs="prediction")
        yield Step("intent", str(frame["prediction"][0]), float(frame["probability"][0]), seconds)
    if "answer" in models:
        asked = pd.DataFrame({"prompt": [heard or " "]})
        frame, seconds = _asked(models, "answer", asked, needs="text", temperature=0.0)
        prompt = models["answer"].data.prompt(heard or " ")
        reply = str(frame["text"][0]).removeprefix(prompt).strip()
        yield Step("answer", reply, None, seconds)
    if "speak" in models:
        frame, seconds = _asked(models, "speak", pd.DataFrame({"text": [reply]}), needs="audio")
        yield Step("speak", reply, None, seconds, audio=frame["audio"][0])


def _understood(models: Mapping[str, Rebuilt], inputs: Any) -> Step:
    """The slots of a recording, or of what was recognised."""
    frame, seconds = _asked(models, "understand", inputs, needs="confidence")
    slots = [name.removesuffix("_probability") for name in frame if name.endswith("_probability")]
    if not slots:
        raise _wrong("understand", frame)
    filled = {name: frame[name][0] for name in slots if frame[name][0]}
    text = ", ".join(f"{name}: {value}" for name, value in filled.items()) or "nothing was understood"
    return Step("understand", text, float(frame["confidence"][0]), seconds)


def _asked(
    models: Mapping[str, Rebuilt], stage: str, inputs: Any, *, needs: str, **params: Any
) -> "tuple[pd.DataFrame, float]":
    """A stage's answer and the seconds that it took."""
    model, begun = models[stage], time.perf_counter()
    try:
        frame = model.task.respond(model.data, inputs, params or None)
    except (AttributeError, KeyError, TypeError) as error:  # a model of another kind takes other inputs
        raise UserError(f"`{stage}=` takes {STAGES[stage]}; {type(model.task).__name__} is none.") from error
    if needs not in frame:
        raise _wrong(stage, frame)
    return frame, time.perf_counter() - begun


def _wrong(stage: str, frame: "pd.DataFrame") -> UserError:
    return UserError(f"`{stage}=` takes {STAGES[stage]}; this run's model answers {', '.join(map(str, frame))}.")
