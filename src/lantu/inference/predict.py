"""The `predict` command: a run's model applied to new tables, images and texts, or writing on from a prompt."""

import itertools
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning import seed_everything

from lantu.config.build import build
from lantu.data.encoding import read_text
from lantu.data.read_table import read_table
from lantu.errors import UserError
from lantu.inference.apply import predict, predicted
from lantu.inference.arguments import check_ending, check_input, check_output, check_workers
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.log_noise import without_noise
from lantu.models.generate import check_sampling
from lantu.notices import warn_once
from lantu.table_files import write_table
from lantu.tracking.find import find_checkpoint

__all__ = ["job", "predict", "predicted"]


def job(cfg: DictConfig) -> Any:
    """Predict or write, to a file or to the terminal."""
    without_noise()
    try:
        check_input(cfg.input)
        check_input(cfg.gallery, option="gallery")
        check_output(cfg.output)
        check_workers(cfg.workers, cfg.rows_at_once)
        _check_sampling(cfg)
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        rebuilt = rebuild(checkpoint)
        if notice := rebuilt.cfg.get("notice"):
            warn_once(str(notice))
        if not rebuilt.task.generates:
            check_ending(cfg.output, rebuilt.task.endings)
        if rebuilt.task.speaks and cfg.input is None:
            return _speak(rebuilt, cfg)
        if rebuilt.task.prompted and not rebuilt.task.speaks:
            return _write_on(rebuilt, cfg)
        if not rebuilt.task.answers:
            raise UserError(
                "this run's model predicts hidden tokens and answers nothing by itself: fine-tune it. Pre-train with "
                "`callbacks=[default,transformers]`, then `lantu train model=bert model.pretrained=RUN/transformers "
                "data.tokenizer=RUN/transformers data=...`."
            )
        if rebuilt.task.generates:
            return _generate(rebuilt, cfg)
        if cfg.input is None:
            raise UserError("`predict` needs something to predict for: add `input=FILE` (a table, images or texts).")
        if cfg.rows_at_once is not None:
            return _streamed(checkpoint, cfg)
        _advise(Path(cfg.input).expanduser(), cfg.output)
        rebuilt.task.search_in(rebuilt.data, Path(cfg.gallery) if cfg.gallery is not None else None)
        frame, outputs = predicted(rebuilt, build(cfg.trainer), Path(cfg.input))
        if cfg.output is not None:
            rebuilt.task.write(outputs, Path(cfg.output), frame=frame)
    except UserError as error:
        print(f"lantu predict: {error}", file=sys.stderr)
        sys.exit(2)
    if cfg.output is None:
        with pd.option_context("display.max_columns", None, "display.width", 160):
            print(frame)
    else:
        print(f"{len(frame):,} prediction{'s' * (len(frame) != 1)} written to {cfg.output}")
    return None


def _advise(path: Path, output: str | None) -> None:
    """Say how a table is predicted that may not fit into memory: as data frames it takes several times its bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if output is not None and path.is_file() and 0 < memory < 8 * path.stat().st_size:
        warn_once(
            f"{path.name} may not fit into memory: `rows_at_once=100000` predicts it in parts, and can be resumed"
        )


def _streamed(checkpoint: Path, cfg: DictConfig) -> None:
    """Predict for a table some rows at a time."""
    from lantu.inference.streamed import Job, run

    if cfg.output is None or cfg.gallery is not None:
        raise UserError("`rows_at_once` writes a file and searches no gallery: add `output=FILE`, leave out `gallery`.")
    job = Job(
        checkpoint, Path(cfg.input).expanduser(), Path(cfg.output).expanduser(), rows=cfg.rows_at_once,
        workers=cfg.workers, trainer=_silent(cfg.trainer),
    )  # fmt: skip
    rows, before = run(job)
    resumed = f", of which {before} parts were there from an earlier call" if before else ""
    print(f"{rows:,} prediction{'s' * (rows != 1)} written to {cfg.output}{resumed}")


def _silent(trainer: DictConfig) -> dict[str, Any]:
    """A trainer's config without its progress bar, of which each part would draw one."""
    found = OmegaConf.to_container(trainer, resolve=True)
    assert isinstance(found, dict)
    return {**{str(name): value for name, value in found.items()}, "enable_progress_bar": False}


def _generate(rebuilt: Rebuilt, cfg: DictConfig) -> None:
    """Write new images into a folder, each named by its number and class."""
    from PIL import Image

    if cfg.input is not None:
        raise UserError("`input`: this model makes images of nothing but their class: leave it out.")
    if cfg.output is None or Path(cfg.output).suffix:
        raise UserError("a model that makes images needs a folder to write them to: add `output=DIR`.")
    task: Any = rebuilt.task
    requested = list(cfg.classes) if isinstance(cfg.classes, ListConfig) else [cfg.classes] * (cfg.classes is not None)
    with torch.inference_mode():
        pictures, classes = task.generate(cfg.count, classes=[str(each) for each in requested], seed=cfg.seed)
    folder = Path(cfg.output)
    folder.mkdir(exist_ok=True)
    digits = len(str(len(classes)))
    for number, (pixels, name) in enumerate(zip(pictures.numpy(), classes, strict=True)):
        kind = re.sub(r"[^\w.-]+", "_", name)
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            folder / f"{number:0{digits}d}_{kind}.png"
        )
    print(f"{len(classes)} images written to {folder}")


def _write_on(rebuilt: Rebuilt, cfg: DictConfig) -> None:
    task: Any = rebuilt.task
    seed_everything(cfg.seed, verbose=False)
    data = rebuilt.data
    options = {name: cfg[name] for name in ("tokens", "temperature", "top_k", "top_p", "repetition_penalty")}
    options["stop"] = [cfg.stop] if isinstance(cfg.stop, str) else list(cfg.stop or data.stops)
    if cfg.input is not None or cfg.output is not None:
        prompts = [cfg.prompt or "\n"] if cfg.input is None else _prompts(Path(cfg.input).expanduser())
        formatted = [data.prompt(each) for each in prompts]
        texts = task.generate_texts(data.encode, data.decode, prompts=formatted, batch_size=cfg.batch_size, **options)
        if cfg.output is None:
            print("\n\n---\n\n".join(texts))
            return
        write_table(pd.DataFrame({"prompt": prompts, "text": texts}), Path(cfg.output))
        print(f"{len(texts)} texts written to {cfg.output}")
        return
    prompt = data.prompt(cfg.prompt or "\n")
    pieces = task.stream(data.encode, data.decode, prompt=prompt, **options)
    shown = itertools.chain([next(pieces, "")], pieces)  # a wrong option is answered before the prompt is printed
    print(prompt, end="")
    for piece in shown:
        print(piece, end="", flush=True)
    print()


def _speak(rebuilt: Rebuilt, cfg: DictConfig) -> None:
    task: Any = rebuilt.task
    if cfg.output is None:
        raise UserError("`predict` of a speech model writes a recording: add `output=FILE.wav` or `output=FILE.flac`.")
    path = Path(cfg.output).expanduser()
    options = {"speaker": cfg.speaker, "temperature": cfg.temperature, "seed": cfg.seed}
    started = time.perf_counter()
    waves = task.synthesize(rebuilt.data, ["" if cfg.prompt is None else str(cfg.prompt)], **options)
    taken = time.perf_counter() - started
    task.write({"wave": waves}, path, frame=pd.DataFrame())
    seconds = len(waves[0]) / task.sample_rate
    print(f"{seconds:.2f} s of speech at {task.sample_rate} Hz written to {cfg.output}, generated in {taken:.2f} s")


def _prompts(path: Path) -> list[str]:
    """The prompts of a file: each line of a .txt that is not empty, or the column `prompt` of a table."""
    if path.suffix.lower() == ".txt":
        prompts = [line for line in read_text(path).splitlines() if line.strip()]
    else:
        rows, _ = read_table(path)
        if "prompt" not in rows:
            raise UserError(f"`input={path}`: a table of prompts has a column `prompt`; this has {', '.join(rows)}.")
        prompts = rows["prompt"].fillna("").astype(str).tolist()
    if not all(prompts) or not prompts:
        raise UserError(f"`input={path}`: a prompt is at least one character long, and the file must hold one.")
    return prompts


def _check_sampling(cfg: DictConfig) -> None:
    check_sampling(
        temperature=cfg.temperature, top_k=cfg.top_k, top_p=cfg.top_p, repetition_penalty=cfg.repetition_penalty
    )
    if cfg.batch_size < 1:
        raise UserError(f"`batch_size={cfg.batch_size}`: how many texts to write at once, at least 1.")
    if cfg.tokens < 1:
        raise UserError(f"`tokens={cfg.tokens}`: how many tokens to write, at least 1.")
    if cfg.stop is not None and "" in (cfg.stop if isinstance(cfg.stop, ListConfig) else [cfg.stop]):
        raise UserError("`stop=`: a text that ends the writing is at least one character long.")
