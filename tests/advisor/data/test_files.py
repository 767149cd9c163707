"""One file -> one table: formats, delimiters, encodings, and what is refused with which words."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advisor.data.cells import column_from_values, is_nested
from advisor.data.delimited import _bad_line
from advisor.data.files import read_file
from advisor.data.opened import open_file
from tuner.errors import DataError, MissingFileError

ROWS = [("plain words", "a"), ('he said "well, yes"', "b"), ("two\nlines; one | cell", "a"), ("café ‘quoted’", "007")]


def columns(path: Path) -> dict[str, list[object]]:
    return read_file(path).table.to_pydict()


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("a.csv", ","), ("a.csv", ";"), ("a.csv", "|"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.txt", ";")],
)
def test_delimited_files_of_every_delimiter_give_the_same_cells(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *ROWS])
    assert columns(path) == {"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252"])
def test_encodings_that_can_be_told_give_the_same_texts(tmp_path: Path, encoding: str) -> None:
    texts = ["Le café est très agréable, l’été nous y allons souvent", "Où êtes-vous allés après le dîner ?"] * 20
    path = tmp_path / "a.csv"
    pd.DataFrame({"text": texts, "label": ["x", "y"] * 20}).to_csv(path, index=False, encoding=encoding)
    result = read_file(path)
    assert result.table.column("text").to_pylist() == texts
    assert result.table.column_names == ["text", "label"]
    assert bool(result.warnings) == (encoding in ("utf-16-le", "cp1252"))
    if encoding == "cp1252":
        assert result.warnings == ("a.csv is not UTF-8 (line 2); it was read as Windows-1252",)


def test_json_lines_in_another_encoding_and_with_a_mark_are_read(tmp_path: Path) -> None:
    line = json.dumps({"text": "Le café est très agréable, c’était délicieux", "label": 1}, ensure_ascii=False) + "\n"
    for encoding in ("cp1252", "utf-16", "utf-8-sig"):
        path = write(tmp_path / "a.jsonl", (line * 20).encode(encoding))
        assert columns(path)["text"] == ["Le café est très agréable, c’était délicieux"] * 20


def test_cyrillic_windows_text_is_recognised_by_its_letters(tmp_path: Path) -> None:
    text = "Сегодня очень хорошая погода, и мы пойдём гулять в парк. Большое спасибо за помощь, друзья."
    path = write(tmp_path / "a.csv", ("text,label\n" + f'"{text}",a\n' * 20).encode("cp1251"))
    result = read_file(path)
    assert result.table.column("text").to_pylist() == [text] * 20
    assert "cp1251" in result.warnings[0]


@pytest.mark.parametrize(
    "content",
    [
        "text,label\n" + '"Příliš žluťoučký kůň úpěl ďábelské ódy. Děkuji vám",a\n' * 9,  # Czech fits cp1252's letters
        "text,label\n" + '"Bugün hava çok güzel, dışarıda yürüyüş. Teşekkür ederim, görüşmek üzere",a\n' * 9,
    ],
)
def test_encodings_that_cannot_be_told_are_refused(tmp_path: Path, content: str) -> None:
    encoding = "cp1250" if "ř" in content else "cp1254"
    with pytest.raises(DataError, match="line 2: the text is not UTF-8, and its encoding cannot be told") as caught:
        read_file(write(tmp_path / "a.csv", content.encode(encoding)))
    assert "iconv -f ENCODING -t UTF-8 a.csv" in caught.value.fix


@pytest.mark.parametrize("rows", [3, 3000])
def test_a_file_of_two_encodings_is_refused(tmp_path: Path, rows: int) -> None:
    halves = [("un café très serré,a\n" * rows).encode(name) for name in ("cp1252", "utf-8")]
    for order in (halves, halves[::-1]):
        with pytest.raises(DataError, match="its encoding cannot be told safely"):
            read_file(write(tmp_path / "a.csv", b"text,label\n" + b"".join(order)))


def test_one_damaged_byte_in_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = ["text,label", *["un bon café,a"] * 5]
    content = "\n".join(lines).encode().replace(b"caf\xc3\xa9", b"caf\xe9", 3).replace(b"caf\xe9", b"caf\xc3\xa9", 2)
    with pytest.raises(DataError, match=r"a\.csv, line 4: the text is not UTF-8"):
        read_file(write(tmp_path / "a.csv", content))


def test_broken_utf16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="begins like UTF-16 text but cannot be decoded"):
        read_file(write(tmp_path / "a.csv", "text,label\na,b\n".encode("utf-16") + b"x"))


def test_cells_stay_text_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", " text , label ,\r\n1.50,007,\r\n\r\nNA,true,x\r\n")
    assert columns(path) == {"text": ["1.50", "NA"], "label": ["007", "true"], "unnamed_2": ["", "x"]}


def test_tab_separated_files_with_bare_quotation_marks_keep_every_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"never closed\ta\n5" pipe\tb\n"quoted" start\ta\n')
    assert columns(path)["text"] == ['"never closed', '5" pipe', '"quoted" start']


def test_backslash_escapes_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"he said \\"no, never\\" again",a\n"fine, thanks",b\n')
    assert columns(path)["text"] == ['he said "no, never" again', "fine, thanks"]


def test_cells_longer_than_a_block_are_read(tmp_path: Path) -> None:
    long_text = "word " * 2_000_000
    path = write(tmp_path / "a.csv", f'text,label\n"{long_text}",a\nshort,b\n')
    assert columns(path) == {"text": [long_text, "short"], "label": ["a", "b"]}
    path = write(tmp_path / "a.jsonl", json.dumps({"text": long_text}) + '\n{"text": "short"}\n')
    assert columns(path) == {"text": [long_text, "short"]}


def test_columns_that_appear_late_or_change_late_are_read_whole(tmp_path: Path) -> None:
    first = '{"text": "some words of a row", "label": 1}\n' * 100_000  # more than a block of them
    path = write(tmp_path / "a.jsonl", first + '{"text": "late", "label": 2.5, "more": "x"}\n')
    table = read_file(path).table
    assert table.num_rows == 100_001
    assert table.slice(100_000).to_pylist() == [{"text": "late", "label": 2.5, "more": "x"}]


def test_an_error_in_a_large_file_lets_the_process_end(tmp_path: Path) -> None:
    """Readers that an error leaves behind must not hang or crash the interpreter when it exits."""
    line = '{"text": "some words of a row", "label": 1}\n'
    write(tmp_path / "a.jsonl", line * 200_000 + '{"text": \n' + line * 200_000)
    write(tmp_path / "a.csv", "text,label\n" + "a,b\n" * 1_000_000 + "a,b,c\n" + "a,b\n" * 1_000_000)
    code = (
        "import sys, pathlib; from advisor.data.files import read_file\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_file(pathlib.Path(name))\n"
        "    except ValueError as error: print(error.what)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.jsonl"), str(tmp_path / "a.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "a.jsonl, line 200,001: broken JSON" in done.stdout
    assert "a.csv, line 1,000,002: 3 fields where the header has 2" in done.stdout


def test_a_ragged_csv_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"two\nlines",a\ngood, but unquoted,b\n')
    with pytest.raises(DataError, match=r"a\.csv, line 4: 3 fields where the header has 2") as caught:
        read_file(path)
    assert "quotation marks" in caught.value.fix
    assert "comma" in caught.value.fix


@pytest.mark.parametrize("content", ['text,label\n"never closed,a\nb,c\n', 'text,label\n"open" again",a\nb,c\n'])
def test_misplaced_quotation_marks_are_refused_with_their_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"line \d: a quotation mark"):
        read_file(write(tmp_path / "a.csv", content))


def test_a_quotation_mark_never_closed_far_down_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "some words,a\n" * 40_000 + '"never closed,b\nmore,c\n')
    with pytest.raises(DataError, match="line 40,002: a quotation mark is never closed"):
        read_file(path)


def test_delimiters_that_fit_equally_well_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;label|id\n" + "a;b|c\n" * 3)
    with pytest.raises(DataError, match="columns may be separated by semicolon or vertical bar"):
        read_file(path)


def test_repeated_column_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column names occur more than once: text") as caught:
        read_file(write(tmp_path / "a.csv", "text,label,text\na,b,c\n"))
    assert caught.value.fix == "give every column a name of its own"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it holds no text at all"),
        ("a.csv", b"\xef\xbb\xbf \n\n", "it holds no text at all"),
        ("a.csv", b"text,label\n", "it has column names but no rows"),
        ("a.json", b"[]", "it holds no rows"),
    ],
)
def test_empty_files_are_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is empty") as caught:
        read_file(write(tmp_path / name, content))
    assert caught.value.why == why


def test_json_values_of_changing_type_become_text_and_absent_ones_null(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"text": "x", "label": 1}\n\n{"text": "y", "label": "two"}\n{"label": "2", "z": 1}\n'
    )
    assert columns(path) == {"text": ["x", "y", None], "label": ["1", "two", "2"], "z": [None, None, 1]}


def test_dates_in_json_stay_as_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "2020-01-01", "label": "2021-02-03"}\n' * 2)
    assert columns(path) == {"text": ["2020-01-01"] * 2, "label": ["2021-02-03"] * 2}


def test_nested_json_values_are_told_by_their_type(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"text": "x", "label": ["a", "b"], "o": 1}\n{"text": "y", "label": "b", "o": {}}\n'
    )
    table = read_file(path).table
    assert is_nested(table.schema.field("label").type)
    assert table.column("text").to_pylist() == ["x", "y"]


def test_half_a_surrogate_pair_in_json_becomes_a_replacement_sign(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"text": "bad \\ud83d tail"}, {"text": "good"}]')
    assert columns(path)["text"] == ["bad ? tail", "good"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": "y"\n{"text": "z"}\n', "line 2: broken JSON"),
        ("a.jsonl", '{"text": "x"}\n[1, 2]\n', "line 2: a JSON list where an object is expected"),
        ("a.jsonl", '{"text": "x"}\n\n"y"\n', "line 3: a JSON string where an object is expected"),
        ("a.json", '[{"text": "x"},\n{"text": \n', "broken JSON"),
        ("a.json", '[{"text": "x"}, 3]', "row 2: a JSON number where an object is expected"),
        ("a.csv", '{"text": "x", "label": 1}\n', "holds JSON, not delimited columns"),
    ],
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_file(write(tmp_path / name, content))


def test_parquet_keeps_types_and_the_names_of_class_labels(tmp_path: Path) -> None:
    features = {
        "label": {"_type": "ClassLabel", "names": ["zero", "one"]},
        "text": {"_type": "Value", "dtype": "string"},
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["x", "y"], "label": [0, 1], "tokens": [["x"], ["y"]]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    result = read_file(tmp_path / "a.parquet")
    assert result.table.column("label").to_pylist() == [0, 1]
    assert result.class_names == {"label": ("zero", "one")}
    assert is_nested(result.table.schema.field("tokens").type)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"] * 100}), tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", (tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"b\.parquet cannot be read as Parquet"):
        read_file(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"c\.parquet is not a Parquet file"):
        read_file(write(tmp_path / "c.parquet", "text,label\na,b\n"))


def test_files_of_another_kind_are_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("xl/workbook.xml", "<x/>")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.csv", "text,label\n")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY")
    (tmp_path / "renamed.csv").write_bytes((tmp_path / "a.xlsx").read_bytes())
    write(tmp_path / "a.csv.gz", gzip.compress(b"text,label\n"))
    write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
    write(tmp_path / "a.csv", bytes(range(256)) * 20)
    write(tmp_path / "noise.csv", bytes((i * 97) % 255 + 1 for i in range(5000)))
    write(tmp_path / "late.csv", b"text,label\n" + b"words,a\n" * 50_000 + b"w\0rds,b\n")
    write(tmp_path / "a.docx2", "text,label\na,b\n")
    expected = {
        "a.xlsx": "is a spreadsheet",
        "renamed.csv": "is a spreadsheet",
        "a.zip": "is a zip archive",
        "a.npz": "holds arrays, not a table",
        "a.png": "is one image, not a table",
        "a.csv.gz": "is packed with gzip",
        "a.csv": "is not a text file",
        "noise.csv": "is not a text file",
        "late.csv": "is not a text file",
        "a.docx2": "is not in a format that is read here",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message):
            read_file(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_file(tmp_path / "late.csv")
    assert caught.value.why == "line 50,002 holds a zero byte"


def test_a_file_that_cannot_be_opened_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot be read"):
        read_file(tmp_path / "absent.csv")


def test_columns_of_mixed_values() -> None:
    assert column_from_values([1, "a", None, True]).to_pylist() == ["1", "a", None, "True"]
    assert column_from_values([1, 2.5, None]).to_pylist() == [1.0, 2.5, None]
    assert is_nested(column_from_values([{"a": 1}, "b"]).type)


def test_a_table_that_only_the_fast_reader_refuses_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nfine,a\n")
    error = _bad_line(open_file(path), "utf-8", ",", {}, n_columns=2, error=pa.ArrowInvalid("odd block\nmore"))
    assert str(error).startswith(f"{path} cannot be read as delimited text (odd block)")


def test_old_mac_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mac.csv"
    path.write_bytes(b"text,label\rgood one,a\rbad one,b\r")
    assert read_file(path).table.to_pylist() == [
        {"text": "good one", "label": "a"},
        {"text": "bad one", "label": "b"},
    ]


def test_a_carriage_return_inside_an_unquoted_cell_is_a_ragged_line(tmp_path: Path) -> None:
    path = tmp_path / "stray.csv"
    path.write_bytes(b"text,label\ngood\rone,a\nbad one,b\n")
    with pytest.raises(DataError, match="fields where the header has 2"):
        read_file(path)


def test_half_of_a_surrogate_pair_in_a_key_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "k\\ud800": "x"}\n')
    assert read_file(path).table.column_names == ["text", "k?"]


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9", b"plain"], pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 2, raw.buffers())})
    pq.write_table(table, tmp_path / "latin.parquet")
    with pytest.raises(DataError, match="holds text that is not UTF-8"):
        read_file(tmp_path / "latin.parquet")
