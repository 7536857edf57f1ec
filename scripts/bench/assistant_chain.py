"""Slots of real coffee orders, through a recogniser and a text model, or straight: by noise level, with latency.

    python scripts/bench/assistant_chain.py --mirror DIR --recognise RUN --understand RUN
    python scripts/bench/assistant_chain.py --mirror DIR --understand RUN      (a run that reads recordings)

Recordings of the test part are measured as they are and with babble of four training voices; a slot is right if its
whole value is. Intervals are Wilson's of the exact matches. Latency is the median over recordings, one at a time.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lantu.data import SlotDataModule, audio_folder
from lantu.data.multimodal.slot_data_module import with_babble
from lantu.decisions.scores import wilson
from lantu.inference.rebuild import Rebuilt
from lantu.inference.voice_assistant import load

SLOTS = ["coffeeDrink", "size", "roast", "numberOfShots", "milkAmount", "sugarAmount"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", required=True, help="the folder that holds coffee_orders")
    parser.add_argument("--recognise", help="a run of task=speech_recognition")
    parser.add_argument("--understand", required=True, help="a run of task=slot_filling, of texts or of recordings")
    parser.add_argument("--store", default="mlruns", type=Path)
    parser.add_argument("--levels", default="none,20,10,5,0", help="decibels of the voice above the babble")
    parser.add_argument("--shown", default=5, type=int, help="recordings whose recognised text is printed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    stages = {name: run for name in ("recognise", "understand") if (run := getattr(asked, name))}
    models = load(stages, store=asked.store)
    source = partial(audio_folder, "coffee_orders", mirror=asked.mirror)
    rate = models[next(iter(models))].data.learned
    data = SlotDataModule(source=source, slots=SLOTS, sample_rate=rate.get("rate") or rate["audio"]["rate"])
    data.prepare_data()
    rows = source()
    truth = rows.rows.loc[rows.split == "test", SLOTS].fillna("").astype(str).reset_index(drop=True)
    voices = data.first_inputs("train", len(rows.rows))
    clean = data.first_inputs("test", len(truth))
    print(f"{len(truth)} recordings; slot F1, exact match [Wilson 95%], latency in ms")
    for level in asked.levels.split(","):
        waves = clean if level == "none" else with_babble(clean, voices, decibels=float(level))
        answers, seconds, texts = [], [], []
        for wave in waves:
            begun = time.perf_counter()
            frame, text = understood(models, wave)
            seconds.append(time.perf_counter() - begun)
            answers.append({name: str(frame[name][0]) if name in frame else "" for name in SLOTS})
            texts.append(text)
        f1, exact = scores(truth, pd.DataFrame(answers))
        milliseconds = 1000 * np.median(seconds)
        low, high = (float(each[0]) for each in wilson(np.array([exact]), np.array([len(truth)])))
        print(f"babble {level:>5}  {f1:.3f}  {exact / len(truth):.3f} [{low:.3f}, {high:.3f}]  {milliseconds:.0f}")
        for text in texts[: asked.shown if level == "none" else 0]:
            print(f"    {text}")


def understood(models: dict[str, Rebuilt], wave: np.ndarray) -> tuple[pd.DataFrame, str]:
    """The slots of one recording, and what was recognised."""
    last = models["understand"]
    if "recognise" not in models:
        return last.task.respond(last.data, [wave]), ""
    first = models["recognise"]
    text = str(first.task.respond(first.data, [wave])["text"][0])
    return last.task.respond(last.data, [text]), text


def scores(truth: pd.DataFrame, answers: pd.DataFrame) -> tuple[float, int]:
    """Micro-averaged F1 of the filled slots, and how many recordings have all slots right."""
    right = (truth == answers).to_numpy()
    filled, predicted = (truth != "").to_numpy(), (answers != "").to_numpy()
    hits = (right & filled).sum()
    return float(2 * hits / max(filled.sum() + predicted.sum(), 1)), int(right.all(axis=1).sum())


if __name__ == "__main__":
    main()
