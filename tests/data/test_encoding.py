"""Text files are read in the encoding that they have; a byte order mark is no text."""

from pathlib import Path

import pandas as pd
import pytest

from lantu.data import TextDataModule, TokenDataModule
from lantu.data.csv_rows import read_csv
from lantu.data.encoding import encoding_of, read_text
from lantu.data.read_table import read_table
from lantu.data.sources import text_files
from lantu.data.table_chunks import chunk_files
from lantu.data.text.corpus import Text
from lantu.errors import UserError

GERMAN = "Die Grüße der Bäcker und Müller gehen an die schöne Straße über dem Fluß. Das weiß man überall.\n" * 40
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом.\n" * 40  # noqa: RUF001
JAPANESE = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。\n" * 40


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"), (GERMAN, "utf-8-sig"), (GERMAN, "utf-16"), (GERMAN, "utf-32"), (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"), (GERMAN, "latin-1"), (GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"),
        (RUSSIAN, "utf-16"), (JAPANESE, "shift_jis"), (JAPANESE, "euc-jp"), (JAPANESE, "utf-8-sig"), ("", "utf-8"),
    ],
)  # fmt: skip
def test_the_text_is_that_which_was_written(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode(encoding))
    assert read_text(path) == text
    assert "".join(Text((path,)).chunks()) == text


def test_a_byte_order_mark_is_no_character_of_a_text(tmp_path: Path) -> None:
    for name in ("1.txt", "2.txt"):
        (tmp_path / name).write_text("the cat sat on the mat. " * 40, encoding="utf-8-sig")
    made = TokenDataModule(path=str(tmp_path), cache=str(tmp_path / "cache"), context=8)
    made.setup("fit")
    assert "\ufeff" not in made.training_text()
    assert not made.report.found
    assert "".join(Text(("\ufeffa", "\ufeffb")).chunks()) == "a\nb"


def test_another_encoding_is_said_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GERMAN.encode("cp1252"))
    for _ in range(2):
        made = TokenDataModule(path=str(tmp_path), cache=str(tmp_path / "cache"), context=8)
        made.setup("fit")
        assert any("text read as cp125" in line and "a.txt" in line for line in made.report.lines())
        assert "ü" in made.training_text()


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("Müller,Köln", "cp1252"), ("François,Nîmes", "cp1252"), ("Muñoz,León", "cp1252"), ("cup,€5", "cp1252"),
        ("oven,20 °C ± 2", "cp1252"), ("Иван Ольга Пётр,Москва Казань Омск", "cp1251"), ("Γιώργος,Αθήνα", "cp1253"),
        ("דוד רות שם,חיפה אילת עיר", "cp1255"), ("محمد,القاهرة", "cp1256"), ("王伟,北京", "gb18030"),
        ("田中さん,東京", "cp932"), ("김민수,서울", "euc_kr"),
    ],
)  # fmt: skip
def test_tables_and_texts_are_read_in_the_same_encoding(line: str, encoding: str, tmp_path: Path) -> None:
    content = f"a,b\n{f'{line}{chr(10)}' * 40}".encode(encoding)
    for name in ("rows.csv", "rows.txt"):
        (tmp_path / name).write_bytes(content)
    rows, _, notes = read_csv(tmp_path / "rows.csv", as_text=True)
    assert list(rows.iloc[0]) == line.split(",")
    assert read_text(tmp_path / "rows.txt").splitlines()[1] == line
    assert any("not UTF-8: read as" in note for note in notes)


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows.jsonl"])
def test_damaged_utf8_is_refused_with_its_place_and_a_way_to_mend_it(name: str, tmp_path: Path) -> None:
    line = '{"city": "Kölln", "y": "Grün"}\n' if name.endswith("jsonl") else "Kölln,Grün\n"
    content = f"city,y\n{line * 300}" if name.endswith("csv") else line * 300
    half = len(content) // 2
    (tmp_path / name).write_bytes(content[:half].encode() + b"\xff" + content[half:].encode())
    with pytest.raises(UserError, match=r"damaged near byte [\d,]+\. Mend .* `iconv -c"):
        read_text(tmp_path / name) if name.endswith("txt") else read_table(tmp_path / name, as_text=True)


def test_json_lines_are_read_in_their_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        (tmp_path / "rows.jsonl").write_bytes('{"city": "Köln"}\n{"city": "Fürth"}\n'.encode(encoding))
        assert read_table(tmp_path / "rows.jsonl", as_text=True)[0]["city"].tolist() == ["Köln", "Fürth"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "no text, or is damaged: it holds NUL"),
        (RUSSIAN.encode()[:500] + b"\xff" + RUSSIAN.encode(), "UTF-8 text that is damaged near byte 500"),
        (GERMAN.encode("utf-16") + b"x", "begins as UTF-16 text, but is damaged"),
    ],
)
def test_what_is_no_text_is_a_sentence_that_names_the_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"strange\.txt .*{said}"):
        encoding_of(path)


def test_hidden_texts_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_text("seen " * 100, encoding="utf-8")
    for name in (".ipynb_checkpoints/a.txt", "._a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("hidden " * 100, encoding="utf-8")
    made = TokenDataModule(path=str(tmp_path), cache=str(tmp_path / "cache"), context=8, split={"val": 0, "test": 0})
    made.setup("fit")
    assert made.training_text() == "seen " * 100


def test_lines_to_predict_for_are_read_in_their_encoding(tmp_path: Path) -> None:
    rows = "text,label\n" + "".join(f"{word} tag {n},{word}\n" for n in range(20) for word in ("schön", "übel"))
    (tmp_path / "a.csv").write_text(rows, encoding="utf-8")
    made = TextDataModule(path=str(tmp_path / "a.csv"), target="label")
    made.setup("fit")
    (tmp_path / "new.txt").write_text("schön tag\nübel tag\n", encoding="utf-16")
    _, found = made.predict_rows(tmp_path / "new.txt")
    assert found["text"].tolist() == ["schön tag", "übel tag"]


def test_json_lines_in_utf_16_are_cut_as_the_whole_file_is_read(tmp_path: Path) -> None:
    rows = pd.DataFrame({"name": ["é", "ü", "中"], "x": [1, 2, 3]})
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows.to_json(orient="records", lines=True, force_ascii=False).encode("utf-16"))
    parts = [read_table(each)[0] for each in chunk_files(path, tmp_path, rows=2)]
    assert pd.concat(parts, ignore_index=True).equals(read_table(path)[0])


def test_a_text_in_two_encodings_is_refused(tmp_path: Path) -> None:
    """As whole files of one code page they would be read with half of their letters wrong."""
    path = tmp_path / "joined.txt"
    path.write_bytes(GERMAN.encode() * 9 + GERMAN.encode("cp1252") * 9)
    with pytest.raises(UserError, match="is in two encodings"):
        encoding_of(path)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "whole.txt").write_text(GERMAN)
    (tmp_path / "lost.txt").symlink_to("nowhere.txt")
    with pytest.raises(UserError, match=r"lost\.txt is a link that leads nowhere"):
        text_files(str(tmp_path))
