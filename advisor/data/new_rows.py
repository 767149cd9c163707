"""Rows without labels: texts and images that a model is to predict, from files, folders and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.columns import choose_columns
from advisor.data.fasttext import is_fasttext
from advisor.data.files import read_file, read_lines
from advisor.data.image_folders import list_images
from advisor.data.image_paths import ImageFinder, column_of_ids, path_references, refuse_root
from advisor.data.images import (
    IMAGE_SUFFIXES,
    Held,
    images_column,
    name_of,
    pictures_of,
    references_in,
)
from advisor.data.missing import is_missing_text
from advisor.data.opened import OpenFile, open_file
from advisor.data.read import (
    is_table_folder,
    missing_file,
    read_tables,
    tables_of_file,
)
from advisor.data.rows import as_column_name, held_within, names_paths
from advisor.data.tables import Tables
from tuner.errors import DataError
from tuner.inputs.given import plain_list, plain_value
from tuner.inputs.pairs import BETWEEN, paired
from tuner.inputs.pictures import Pictures, is_one_picture

if TYPE_CHECKING:
    import pyarrow as pa


def read_texts(data: Any, *, text: str | None = None, text_pair: str | None = None) -> tuple[list[str], str]:
    """Read the texts of a file or object, and their column's name, as `read_new_texts` does, without its warnings."""
    return read_new_texts(data, text=text, text_pair=text_pair)[:2]


def read_new_texts(
    data: Any,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    header: bool | None = None,
    names: Sequence[str] = (),
) -> tuple[list[str], str, tuple[str, ...]]:
    """Read texts that need no labels, in their order and none dropped.

    A ``.txt`` file is one text a line, a folder of text files one text a file, sorted by path; a list of strings is
    taken as it is; of several splits, the test split. Missing texts are empty strings, which `notes_on_texts` counts.

    Args:
        data: a file, folder or object.
        text: the column of texts; None to guess it.
        text_pair: the column of second texts, with which the texts are pairs (`tuner.inputs.pairs`), as a list of
            (text, text) also is; None without pairs.
        header: whether the first line of a file names its columns; None: it is judged by its look.
        names: columns that are known to be there (`advisor.data.files.read_file`).

    Returns:
        the texts, their column's name, and warnings.

    Raises:
        DataError: for a text file of one text a line where a pair needs two columns.
        MissingFileError: for a path that does not exist.
    """
    text, text_pair = as_column_name(text), as_column_name(text_pair)
    if isinstance(data, Iterator) or type(data).__name__ in ("Series", "Index", "ndarray", "Column"):
        data = plain_list(data)
    if (
        isinstance(data, (list, tuple))
        and data
        and all(isinstance(value, str | None) for value in map(plain_value, data))
    ):
        return [plain_value(value) or "" for value in data], "text", ()
    if isinstance(data, list) and data and all(_is_pair(item) for item in data):
        return [paired(first or "", second or "") for first, second in data], "text", ()
    known = [name for name in (text, text_pair) if name is not None]
    if isinstance(data, (str, Path)) and Path(data).suffix.lower() == ".txt":
        path = Path(data).expanduser()
        if not path.is_file():
            raise missing_file(path)
        file = open_file(path)
        if text is None and text_pair is None and header is None:
            lines = _lines_of(file)
            if not is_fasttext("\n".join(lines)):
                return lines, "line", ()
        elif text_pair is not None and text_pair not in _lines_of(file)[0]:
            raise DataError(
                f"{path} holds a text a line, and a pair needs two columns",
                why=f"the second text of a pair is read in a column '{text_pair}'",
                fix="pass a CSV, JSONL or Parquet file with a column for each of the two texts",
            )
        tables = tables_of_file(path, read_file(file, header=header, names=[*known, *names]))
    else:
        tables = read_tables(data, header=header, names=[*known, *names], labelled=False)
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    column = text
    if column is None and table.num_columns == 1:
        column = table.column_names[0]
    chosen = choose_columns(table, place=tables.place, text=column, text_pair=text_pair, labelled=False)
    texts = _without_markers(table.column(chosen.content))
    if text_pair is not None:
        seconds = _without_markers(table.column(text_pair))
        texts = [paired(first, second) for first, second in zip(texts, seconds, strict=True)]
    return texts, chosen.content, tables.warnings


def _lines_of(file: OpenFile) -> list[str]:
    lines: list[str] = read_lines(file, utf8=True).table.column("line").to_pylist()
    return lines


def _without_markers(column: pa.ChunkedArray) -> list[str]:
    """The texts of a column, those that are missing or stand for it empty."""
    return ["" if value is None or is_missing_text(value) else value for value in column.to_pylist()]


def _is_pair(item: Any) -> bool:
    """Two texts, of which one may be missing."""
    pair = isinstance(item, (list, tuple)) and len(item) == 2
    return pair and any(item) and all(part is None or isinstance(part, str) for part in item)


def notes_on_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """A warning that counts texts that hold nothing, and pairs that lack one of their texts; none where all are filled.

    >>> notes_on_texts(["a film", " ", ""])
    ('2 of 3 texts are empty: they are labelled all the same, and their labels say little',)
    >>> notes_on_texts([paired("a film", ""), paired("a film", "a cat")])
    ('1 of 2 pairs lacks a text: it is labelled all the same, and its label says little',)
    """
    n = sum(not all(part.strip().strip("\u200b\ufeff").strip() for part in text.split(BETWEEN)) for text in texts)
    if not n:
        return ()
    pairs = any(BETWEEN in text for text in texts)
    what = ("lacks a text" if n == 1 else "lack a text") if pairs else ("is empty" if n == 1 else "are empty")
    labelled = "they are labelled all the same, and their labels say little"
    if n == 1:
        labelled = "it is labelled all the same, and its label says little"
    return (f"{n:,} of {len(texts):,} {'pairs' if pairs else 'texts'} {what}: {labelled}",)


def read_images(
    data: Any, *, image: str | None = None, images_root: str | Path | None = None, header: bool | None = None
) -> tuple[Pictures, list[str], tuple[str, ...]]:
    """Read images that need no labels, in their order and none dropped.

    Args:
        data: an image file, a folder of images however deep, an array, a list of paths, arrays or PIL images, or a
            table with a column of images or of paths to them; of several splits, the test split.
        image: the column of images or of paths; None to guess it.
        images_root: a folder into which paths may lead out of the table's own; None where they may not.
        header: whether the first line of a file names its columns; None: it is judged by its look.

    Returns:
        the images, their names, and warnings.

    Raises:
        DataError: where there are no images.
        MissingFileError: for a path that does not exist.
        OptionError: for `images_root` where nothing names images by paths.
    """
    image = as_column_name(image)
    given = _images_alone(data) if image is None else None
    if given is None:
        given = _images_of_tables(read_tables(data, header=header), image=image, images_root=images_root)
    else:
        refuse_root(images_root)
    column, held, warnings = given
    references = ["" if name is None else name for name in column.to_pylist()]
    if not references:
        raise DataError("there are no images", why="the list is empty", fix="pass at least one image")
    return pictures_of(references, held=held), [name_of(name, held=held) for name in references], warnings


def _images_alone(data: Any) -> tuple[pa.ChunkedArray, Held, tuple[str, ...]] | None:
    """References to images that come without a table: a file, a folder, a list or an array; None of anything else."""
    warnings: tuple[str, ...] = ()
    if isinstance(data, (str, Path)):
        path = Path(data).expanduser()
        if path.is_dir() and not is_table_folder(path):
            column, held, warnings = list_images(path)
        elif path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            column, held = images_column([path], place=str(path))
        else:
            return None
    elif is_one_picture(data):
        column, held = images_column([data], place="the image")
    elif isinstance(data, list) or getattr(data, "ndim", 0) >= 3 or type(data).__name__ == "Series":
        column, held = images_column(data, place="the images")
    else:
        return None
    return references_in(column), held, warnings


def _images_of_tables(
    tables: Tables, *, image: str | None, images_root: str | Path | None
) -> tuple[pa.ChunkedArray, Held, tuple[str, ...]]:
    table = tables.parts.get("test", next(iter(tables.parts.values())))
    finder = ImageFinder(folder=tables.folder, root=images_root, confined=tables.confined)
    image = image or column_of_ids(table, finder=finder)
    chosen = choose_columns(table, place=tables.place, image=image, labelled=False, images=True)
    if chosen.image is None:
        raise DataError(
            f"{tables.place} holds no images",
            why="no column holds images or paths to them",
            fix=f"pass --image with one of: {', '.join(table.column_names)}",
        )
    if images_root is not None and not names_paths(tables, chosen.image):
        refuse_root(images_root)
    column = path_references(table.column(chosen.image), finder=finder, place=tables.place, name=chosen.image)
    return column, held_within(tables.held, finder, place=tables.place), tables.warnings
