import math
import os
import resource
from pathlib import Path

from lantu.errors import UserError
from lantu.tracking import RunLogger
from lantu.tracking.journal import Journal, Reader, decode, encode, last
from tests.tracking.conftest import Process


def records(path: Path) -> list[dict]:
    return [record for _, record in Reader(path)]


def test_a_record_comes_back_as_it_was_written() -> None:
    record = {"n": 1, "t": 2, "kind": "metrics", "step": 3, "values": {"a": 0.1, "損失": 1e-308, 'q",crc': -0.0}}
    assert decode(encode(record)) == record


def test_numbers_that_json_lacks_come_back_as_such() -> None:
    record = decode(encode({"n": 1, "values": {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0}}))
    assert record is not None
    assert [str(float(value)) for value in record["values"].values()] == ["nan", "inf", "-inf", "1.0"]


def test_a_changed_byte_is_noticed() -> None:
    line = encode({"n": 1, "values": {"a": 0.25}})
    for place in range(len(line)):
        assert decode(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]) is None


def test_a_journal_cut_anywhere_keeps_every_record_before_the_cut_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    journal = Journal(path)
    for step in range(3):
        journal.append("metrics", step=step, values={"a": 0.5})
    journal.close()
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in range(second, len(whole)):
        path.write_bytes(whole[:cut])
        assert len(records(path)) == whole[:cut].count(b"\n")
        kept = whole[: cut + 1].count(b"\n")  # a record that lacks nothing but its newline is whole
        journal = Journal(path)
        journal.append("metrics", step=9, values={"a": 1.0})
        journal.close()
        after = records(path)
        assert [each["step"] for each in after] == [*range(kept), 9]
        assert after[-1]["n"] == kept


def test_the_last_record_is_found_behind_a_cut_one_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(encode({"n": 7}) + b"x" * 1_000_000)
    assert last(path) == {"n": 7}
    path.write_bytes(b"x" * 1_000_000)
    assert last(path) is None


def test_two_records_of_one_step_never_share_a_millisecond_and_time_never_goes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    for _ in range(1000):
        journal.append("metrics", step=1, values={"a": 0.5})
    journal.append("metrics", step=2, t=5, values={"a": 0.5})
    journal.close()
    times = [each["t"] for each in records(journal.path)]
    assert len(set(times[:1000])) == 1000
    assert times == sorted(times)


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    reader = Reader(journal.path)
    for step in range(5):
        journal.append("metrics", step=step, values={"a": 0.5})
        assert [record["step"] for _, record in reader] == [step]
    with open(journal.path, "ab") as file:
        file.write(b'{"half')
    assert list(reader) == []


def _fill_the_disk(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 20_000))
    journal = Journal(path)
    for step in range(150):
        journal.append("metrics", step=step, values={"a": 0.5})
    journal.flush()
    size = path.stat().st_size
    assert size == 10_000, size
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # room again
    journal.flush()
    journal.append("metrics", step=150, values={"a": 0.5})
    journal.close()


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_there_is_room_again(tmp_path: Path, start) -> None:
    path = tmp_path / "journal" / "records.jsonl"
    process: Process = start(_fill_the_disk, path)
    assert process.wait() == 0, process.text()
    assert process.text().count("takes no more records (File too large)") == 1
    assert [each["step"] for each in records(path)] == list(range(151))


def _stay_full(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 20_000))
    journal = Journal(path)
    for step in range(150):
        journal.append("metrics", step=step, values={"a": 0.5})
    journal.close()


def test_a_disk_that_stays_full_keeps_what_came_before_and_says_what_is_lost(tmp_path: Path, start) -> None:
    path = tmp_path / "records.jsonl"
    process: Process = start(_stay_full, path)
    assert process.wait() == 0, process.text()
    kept = [each["step"] for each in records(path)]
    assert kept == list(range(len(kept)))
    assert len(kept) > 50
    assert "could not be written" in process.text()
    assert "all before them are kept" in process.text()


def _log_without_rights(folder: Path, output: Path) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        RunLogger(run_dir=folder / "runs" / "a").log_metrics({"a": 1.0}, 1)
    except UserError as error:
        print(error)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path, start) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(folder.stat().st_mode | 0o005)
    process: Process = start(_log_without_rights, closed, tmp_path)
    process.wait()
    assert "cannot be written in" in process.text()
    assert "paths.store=DIR" in process.text()
    assert "Traceback" not in process.text()
