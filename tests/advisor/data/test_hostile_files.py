"""Files that would crash a reader, hang it or fill the memory are refused in words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advisor.data.cells import read_literal
from advisor.data.files import read_file
from advisor.data.new_rows import read_new_texts
from advisor.data.read import read_tables
from advisor.data.sentences import read_tagged
from advisor.similarity.image_build import read_source_pictures
from advisor.similarity.passages import read_source_text
from helpers.loading import load_target
from helpers.recognised import is_tagged
from tuner.errors import DataError, MissingFileError
from tuner.inputs.pictures import PictureError, open_picture


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


DEEP = 60_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"t": "x", "a": ' + "[" * DEEP + "]" * DEEP + '}\n{"t": "y", "a": 1}\n',
            "line 1: .*nested too deeply",
        ),
        ("a.jsonl", '{"a": 1}\n{"a":\n' + "[\n" * DEEP + "]\n" * DEEP + "}\n", "line 2: broken JSON"),
        ("a.jsonl", '{"a": "}", "b":\n' * DEEP + "1" + "}\n" * DEEP, "line 1: broken JSON"),
        ("a.json", '{"a": ' * DEEP + "1" + "}" * DEEP, "nested too deeply"),
        ("a.json", '[{"a": ' + "[" * DEEP + "]" * DEEP + "}]", "nested too deeply"),
        ("a.json", '[{"text": "x", "n": ' + "9" * 1_000_000 + "}]", "a number with too many digits"),
        ("a.csv", "," * 200_000 + "\na,b\n", "more than 150,000 columns"),
        ("a.csv", "text,label\n" + "a,b\n" * 5 + "," * 200_000 + "\n", "line 7: 200001 fields where the header has 2"),
        ("a.jsonl", "".join(f'{{"k{n}": 1}}\n' for n in range(11_000)), "more than 10,000 columns"),
    ],
)
def test_text_that_nests_or_spreads_too_far_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        read_file(path)
    assert not is_tagged(path)


def test_nested_json_that_is_not_too_deep_is_read(tmp_path: Path) -> None:
    line = '{"text": "a ] [ smile :[", "a": ' + "[" * 50 + "]" * 50 + "}\n"
    assert read_file(write(tmp_path / "a.jsonl", line * 500)).table.num_rows == 500


def test_a_first_line_longer_than_the_sample_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f'"{"word " * 100_000}",a\n' + '"some more words here",b\n"and yet some more",a\n')
    assert read_file(path).table.num_rows == 3


def test_literals_in_cells_that_nest_too_deeply_are_no_lists() -> None:
    for written in ("[" * DEEP + "]" * DEEP, "['" + "-" * DEEP + "1", "[" + "9" * 1_000_000 + ",'a']"):
        assert read_literal(written) is None


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl", "a.parquet", "a.npz", "a.conll", "a.png", "a"])
def test_pipes_are_refused_wherever_a_file_is_named(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / "data.csv", "text,label\n" + "good words,a\nbad words,b\n" * 10)
    pipe = tmp_path / name
    os.mkfifo(pipe)
    for read in (
        read_tables, load_target, read_new_texts, read_tagged, lambda path: load_target(data, test=path),
        lambda path: read_source_text([path]), lambda path: read_source_pictures([path]),
    ):  # fmt: skip
        with pytest.raises(DataError, match="is a named pipe, not a file"):
            read(pipe)
    assert not is_tagged(pipe)
    with pytest.raises(PictureError, match="it is a named pipe"):
        open_picture(pipe)


def test_devices_and_links_to_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="/dev/zero is a device, not a file"):
        read_tables("/dev/zero")
    (tmp_path / "train.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"train\.csv is a device"):
        read_tables(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.csv").symlink_to("nowhere")
    with pytest.raises(MissingFileError, match=r"train\.csv is a link that leads nowhere"):
        read_tables(tmp_path)


def test_a_pipe_called_like_a_split_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"train\.csv is a named pipe"):
        load_target(tmp_path)


def test_dictionaries_that_swell_beyond_the_memory_are_refused(tmp_path: Path) -> None:
    long_text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, np.int32)), pa.array(["x" * 4_000_000]))
    pq.write_table(pa.table({"text": long_text, "label": ["a", "b"] * 25_000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 2_000_000
    with pytest.raises(DataError, match="larger than the memory once it is unpacked"):
        read_file(tmp_path / "a.parquet")


def test_what_a_parquet_file_declares_is_held_against_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    texts = [str(n) for n in np.random.default_rng(0).integers(0, 1 << 40, 50_000)]
    pq.write_table(pa.table({"text": texts, "label": [1, 2] * 25_000}), path)
    assert read_file(path).table.num_rows == 50_000
    monkeypatch.setattr("tuner.memory.free_memory", lambda: 100_000)
    with pytest.raises(DataError, match=r"needs 0\.0 GB or more") as caught:
        read_file(path)
    assert "fewer rows" in caught.value.fix


def test_rows_that_a_parquet_file_does_not_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [[1]] * 60}), path)
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8]
    declared = b"\x16" + b"\xfe\xff\xff\xff\xff\xff\xff\x3f"  # 2 ** 54 rows in place of 60, the first such field
    footer = footer.replace(b"\x16\x78", declared, 1)
    path.write_bytes(content[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError, match="it says that it has 18,014,398,509,481,983 rows, and its parts say otherwise"):
        read_file(path)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
     pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)  # fmt: skip
def test_text_in_every_type_of_arrow_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [f"some words, number {n}, café" for n in range(20)]
    column = pa.array(texts)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_encode()
    elif kind != column.type:
        column = column.cast(pa.binary()).cast(kind) if "binary" in str(kind) else column.cast(kind)
    labels = pa.array(["a", "b"] * 10, pa.string_view() if kind == pa.string_view() else pa.string())
    pq.write_table(pa.table({"text": column, "label": labels}), tmp_path / "a.parquet")
    target = load_target(tmp_path / "a.parquet")
    assert (target.n_examples, target.kind, target.class_names) == (20, "text", ("a", "b"))
    assert sorted(target.texts) == sorted(texts)


def test_bytes_that_turn_out_to_be_no_text_are_refused_with_how_to_cast(tmp_path: Path) -> None:
    cells = [b"plain words"] * 40 + ["caf\xe9".encode("latin-1")]
    pq.write_table(pa.table({"text": cells, "label": ["a"] * 41}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'text' holds bytes, not all of them UTF-8") as caught:
        read_file(tmp_path / "a.parquet")
    assert ".str.decode(ENCODING)" in caught.value.fix


def test_one_line_in_another_encoding_is_named_with_a_fix_that_works(tmp_path: Path) -> None:
    lines = ["text,label", *["un bon café ☕,a"] * 60]
    content = "\n".join(lines).encode()
    path = write(tmp_path / "a.csv", content + "\nun café,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 62: .*that line alone is not UTF-8") as caught:
        read_file(path)
    assert "iconv" not in str(caught.value)
    command = caught.value.fix.partition("as it is: ")[2]
    assert os.system(f"cd {tmp_path} && {command}") == 0
    assert read_file(tmp_path / "utf8-a.csv").table.to_pylist()[-1] == {"text": "un café", "label": "b"}


def test_the_encoding_to_convert_from_is_named(tmp_path: Path) -> None:
    rows = [
        b'ham,"some words of a message for \xe5\xa35"',
        b'spam,"and others that it\x89\xdb\xf7s here, \xcc\xbc"',
    ] * 9
    with pytest.raises(DataError, match="line 2: the text is not UTF-8") as caught:
        read_file(write(tmp_path / "a.csv", b"v1,v2\n" + b"\n".join(rows[:-1])))
    assert "WINDOWS-1252" in caught.value.fix
