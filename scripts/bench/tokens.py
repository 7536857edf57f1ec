"""How fast text becomes a memory-mapped file of tokens, on one core and on all, beside tokenizers' own batch call.

Run: python scripts/bench/tokens.py TEXT [--megabytes 16] [--turns 3]
TEXT is a file of UTF-8, repeated until it is large enough. Ours is the whole way, from the text's file to a file of
tokens that lies on the disk; the batch call is `encode_batch` of the Hugging Face library, given the text's lines in
memory, and leaves its tokens there. Every measurement is a process of its own, as the library's threads are counted
when it is first used; the processes take turns. The vocabulary of byte pairs is learned before, on the text itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LEVELS = ("byte", "char", "bpe")


def ours(text: Path, folder: Path, level: str, vocabulary: Path) -> tuple[float, float, int]:
    """From a text to a file of tokens: seconds, seconds of processor time of all threads, and tokens."""
    from lantu.data.text.corpus import Corpus
    from lantu.data.text.token_file import cached_tokens
    from lantu.data.text.tokenize import tokenised
    from lantu.data.text.vocabulary import Bytes, Characters, Subwords, Vocabulary, different

    shares = {"val": 0.05, "test": 0.0}
    start, busy = time.perf_counter(), time.process_time()
    corpus = Corpus([text], ["train"], shares=shares, joined=True)
    if level == "bpe":
        known: Vocabulary = Subwords.loaded(str(vocabulary))
    else:
        known = Bytes() if level == "byte" else Characters(different(corpus.characters("train")))
    made = cached_tokens(folder / "tokens.safetensors", lambda: tokenised(corpus, known, marked=False), size=known.size)
    return time.perf_counter() - start, time.process_time() - busy, sum(map(len, made.parts.values()))


def theirs(text: Path, vocabulary: Path) -> tuple[float, float, int]:
    """The same of one `encode_batch` over the lines."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(vocabulary))
    lines = text.read_text(encoding="utf-8").splitlines(keepends=True)
    start, busy = time.perf_counter(), time.process_time()
    found = tokenizer.encode_batch(lines)
    return time.perf_counter() - start, time.process_time() - busy, sum(len(each.ids) for each in found)


def measured(arguments: list[str], cores: int) -> tuple[float, float, int]:
    """One measurement in a process of its own."""
    everyone = sorted(os.sched_getaffinity(0))
    command = [sys.executable, __file__, *arguments]
    environment = os.environ | {"RAYON_NUM_THREADS": str(cores), "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, everyone[:cores]),
    )  # fmt: skip
    seconds, busy, tokens = json.loads(done.stdout)
    return seconds, busy, tokens


def main() -> None:
    """Measure every level, and print tokens per second and the ratio."""
    from rich.console import Console
    from rich.table import Table

    from lantu.data.text.corpus import Text, pieces
    from lantu.data.text.vocabulary import Subwords

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=float, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--one", choices=[*LEVELS, "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--vocabulary", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as name:
            if options.one == "theirs":
                print(json.dumps(theirs(options.text, options.vocabulary)))
            else:
                print(json.dumps(ours(options.text, Path(name), options.one, options.vocabulary)))
        return
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        content = options.text.read_text(encoding="utf-8")
        text, vocabulary = Path(name) / "text.txt", Path(name) / "tokenizer.json"
        text.write_text(content * max(1, round(options.megabytes * 1e6 / len(content.encode()))), encoding="utf-8")
        learned = Subwords.of(
            pieces(Text((options.text,)).chunks(), least=4096), level="bpe", size=options.vocab_size, min_count=2
        )
        learned.tokenizer.save(str(vocabulary))
        seconds: dict[tuple[str, int], list[float]] = {}
        busy: dict[str, list[float]] = {}
        counts: dict[str, int] = {}
        for _ in range(options.turns):
            for level in (*LEVELS, "theirs"):
                for count in dict.fromkeys((1, cores)):
                    arguments = [str(text), f"--one={level}", f"--vocabulary={vocabulary}"]
                    taken, used, counts[level] = measured(arguments, count)
                    seconds.setdefault((level, count), []).append(taken)
                    if count == 1:
                        busy.setdefault(level, []).append(used)
        size = text.stat().st_size
        title = f"{size / 1e6:.0f} MB, byte pairs: {learned.size:,} tokens; million tokens per second"
        table = Table("", "tokens", "one core", "of processor time", f"{cores} cores", "MB/s", title=title)
        for level in (*LEVELS, "theirs"):
            one, every = (statistics.median(seconds[level, count]) for count in (1, cores))
            used = statistics.median(busy[level])
            rates = [f"{counts[level] / taken / 1e6:.2f}" for taken in (one, used, every)]
            table.add_row(level, f"{counts[level]:,}", *rates, f"{size / every / 1e6:.1f}")
        Console().print(table)
        for count in dict.fromkeys((1, cores)):
            ratio = statistics.median(seconds["theirs", count]) / statistics.median(seconds["bpe", count])
            print(f"{count} cores: encode_batch takes {ratio:.2f} times as long as ours")


if __name__ == "__main__":
    main()
