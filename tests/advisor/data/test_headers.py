"""Whether a first line names columns or is data, and what may stand before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.data.conll import is_conll
from advisor.data.files import read_file
from advisor.data.header import judge_first_row
from advisor.data.new_rows import read_new_texts
from advisor.data.opened import open_file
from advisor.data.read import read_tables
from helpers.loading import load_target
from tuner.errors import DataError, OptionError

TEXTS = [
    f"{text} {number}"
    for number in range(3)
    for text in (
        "The chair wobbled from the first day",
        "It works as well as we hoped",
        "Late and crowded, every single time",
        "Nothing like the picture at all",
        "We would buy it again at once",
        "The handle broke after one week",
        "Quiet and clean, a joy to use",
        "Cold soup and a long wait",
    )
]
ROWS = [(text, "ab"[number % 2]) for number, text in enumerate(TEXTS)]
CSV = "".join(f'"{text}",{label}\n' for text, label in ROWS)
TSV = "".join(f"{label}\t{text}\n" for text, label in ROWS)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.tsv", TSV),
        ("a.txt", TSV.replace("a\t", "ham\t").replace("b\t", "spam\t")),
        ("numbers.tsv", TSV.replace("a\t", "0\t").replace("b\t", "1\t")),
        ("news.csv", "".join(f'"{n % 4 + 1}","A title {n}","{text}"\n' for n, text in enumerate(TEXTS))),
        ("hashtag.csv", CSV.replace('"The', '"#now The')),
        ("images.csv", "".join(f"img/{n}.png,{'ab'[n % 2]}\n" for n in range(24))),
        ("chinese.csv", "".join(f"这个产品真的非常好用我很喜欢{n},{'好差'[n % 2]}\n" for n in range(24))),
        ("lists.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("lists.json", json.dumps(ROWS)),
    ],
)
def test_without_a_header_no_row_is_lost_and_columns_are_numbered(tmp_path: Path, name: str, content: str) -> None:
    result = read_file(write(tmp_path / name, content))
    assert result.table.num_rows == 24
    assert result.table.column_names == [f"column_{n + 1}" for n in range(result.table.num_columns)]
    assert result.without_header
    (warning,) = result.warnings
    assert warning.startswith(f"{name} has no header line")
    assert "The chair" not in warning


@pytest.mark.parametrize(
    "header",
    [
        "text,label", "Opinion,Klasse", "v1,v2", "What they said,Group", "review_body,verdict", "内容,标签",
        "#text,label", "comment,spam", "headline,b or not",
    ],
)  # fmt: skip
def test_headers_are_headers_without_a_warning(tmp_path: Path, header: str) -> None:
    result = read_file(write(tmp_path / "a.csv", f"{header}\n{CSV}"))
    assert result.table.num_rows == 24
    assert result.table.column_names == header.lstrip("#").split(",")
    assert result.warnings == ()


def test_numbered_columns_of_pandas_are_a_header(tmp_path: Path) -> None:
    lines = "".join(f'{n},"{text}",{label}\n' for n, (text, label) in enumerate(ROWS))
    assert read_file(write(tmp_path / "a.csv", ",0,1\n" + lines)).table.column_names == ["unnamed_0", "0", "1"]
    assert read_file(write(tmp_path / "b.csv", lines)).table.column_names == ["column_1", "column_2", "column_3"]


def test_a_name_that_is_a_class_below_is_data() -> None:
    rows = [["question", "Where is the station of this town?"], ["order", "Two of the large ones, please."]] * 6
    assert judge_first_row(rows) == ("data", True)
    assert judge_first_row([["kind", "content"], *rows]) == ("header", True)


def test_one_column_of_texts_keeps_its_first_one(tmp_path: Path) -> None:
    three = "".join(f'"{text}"\n' for text in TEXTS[:3])
    texts, column, warnings = read_new_texts(write(tmp_path / "a.csv", three))
    assert (texts, column, len(warnings)) == (TEXTS[:3], "column_1", 1)
    assert read_new_texts(write(tmp_path / "b.csv", "review\n" + three)) == (TEXTS[:3], "review", ())
    assert read_new_texts(write(tmp_path / "c.csv", "v2\n" + three), names=["v2", "v1"]) == (TEXTS[:3], "v2", ())
    texts, _, (warning,) = read_new_texts(write(tmp_path / "d.csv", "Fine\n" + three))
    assert (texts, "--no-header" in warning) == (TEXTS[:3], True)
    assert read_new_texts(tmp_path / "d.csv", header=False)[0] == ["Fine", *TEXTS[:3]]


def test_the_user_decides(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + CSV)
    assert read_file(path, header=False).table.to_pylist()[0] == {"column_1": "text", "column_2": "label"}
    assert read_file(path, header=False).warnings == ()
    assert read_file(write(tmp_path / "b.csv", CSV), header=True).table.column_names == [TEXTS[0], "a"]
    assert read_file(tmp_path / "b.csv", names=["a"]).table.column_names == [TEXTS[0], "a"]
    with pytest.raises(OptionError, match="--no-header does not go with"):
        read_file(write(tmp_path / "c.jsonl", '{"text": "x"}\n{"text": "y"}\n'), header=False)
    with pytest.raises(OptionError, match="does not go with data in memory"):
        read_tables((["x"], ["y"]), header=False)


def test_columns_and_splits_of_files_without_headers(tmp_path: Path) -> None:
    target = load_target(write(tmp_path / "a.tsv", TSV))
    assert (target.n_examples, target.columns["text"], target.columns["label"]) == (24, "column_2", "column_1")
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "train.tsv", TSV)
    write(folder / "test.tsv", "a\tFine\nb\tBad\n")  # alone it could be either
    parts = read_tables(folder).parts
    assert {split: part.num_rows for split, part in parts.items()} == {"train": 24, "test": 2}
    tables = load_target(tmp_path / "a.tsv", test=folder / "test.tsv")
    assert len(tables.test) == 2


@pytest.mark.parametrize(
    ("before", "n_warnings"),
    [
        ("sep=,\n", 0),
        ('"sep=,"\r\n', 0),
        ("\n  \n", 0),
        ("# written by hand\n# on a Monday, in May\n", 1),
        ("Survey of the hall\n", 1),
        ("Survey of the hall,\n\n", 1),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_before_the_table_are_skipped(tmp_path: Path, before: str, n_warnings: int, encoding: str) -> None:
    result = read_file(write(tmp_path / "a.csv", (before + "text,label\n" + CSV).encode(encoding)))
    assert result.table.to_pylist() == [{"text": text, "label": label} for text, label in ROWS]
    assert len(result.warnings) == n_warnings


def test_line_numbers_count_what_stands_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 5: 3 fields where the header has 2"):
        read_file(
            write(tmp_path / "a.csv", "# by hand\n\ntext,label\n" + "fine,a\n" + "not, so fine,b\n" + "fine,a\n" * 9)
        )


@pytest.mark.parametrize(
    ("header", "tail"), [("text,label,,,", ",,,"), ("text,label", ","), ("text,label,,", ""), ("text,label,", ",")]
)
def test_blank_columns_at_the_end_are_left_out(tmp_path: Path, header: str, tail: str) -> None:
    lines = "".join(f'"{text}",{label}{tail}\n' for text, label in ROWS)
    result = read_file(write(tmp_path / "a.csv", f"{header}\n{lines}"))
    assert (result.table.column_names, result.warnings) == (["text", "label"], ())


def test_stray_cells_in_blank_columns_are_counted(tmp_path: Path) -> None:
    lines = CSV.replace(",a\n", ",a,,\n").replace(",b\n", ",b,,\n").replace(",a,,", ",a,x,", 1)
    result = read_file(write(tmp_path / "a.csv", "v1,v2,,\n" + lines))
    assert result.table.column_names == ["v1", "v2"]
    assert result.warnings == ("a.csv: columns without a name were left out as all but empty: 1 cell is filled",)


def test_the_glance_at_tagged_words_reads_the_same_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'sep=;\ntokens;tags\n"[""EU""]";"[""B-org""]"\n')
    assert read_file(path).table.slice(0, 1).to_pylist() == [{"tokens": '["EU"]', "tags": '["B-org"]'}]
    texts = write(tmp_path / "b.tsv", "".join(f"{text}\t{'BS'[n % 2]}\n" for n, text in enumerate(TEXTS)))
    assert not is_conll(open_file(texts))
    assert is_conll(open_file(write(tmp_path / "c.tsv", "EU\tB-org\nrejects\tO\n")))


def test_fasttext_files_are_labels_and_texts(tmp_path: Path) -> None:
    lines = [f"__label__{label} {text}" for text, label in ROWS]
    path = write(tmp_path / "a.txt", "\n".join(lines) + "\n")
    assert read_file(path).table.to_pylist() == [{"text": text, "label": label} for text, label in ROWS]
    assert read_new_texts(path)[0] == TEXTS
    lines[2] = "__label__a " + lines[2]
    several = read_file(write(tmp_path / "b.txt", "\n".join(lines) + "\n")).table.to_pylist()
    assert several[2] == {"text": ROWS[2][0], "label": ["a", ROWS[2][1]]}
    assert several[0] == {"text": ROWS[0][0], "label": [ROWS[0][1]]}
