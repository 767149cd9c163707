"""Data that a person has in memory -> tables: mappings, lists, arrays of images, frames, `datasets` objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from advisor.data.cells import (
    column_from_values,
    holds_lists,
    is_nested,
    keeps_lists,
    names_of_items,
    nested_placeholder,
    refuse_repeated,
)
from advisor.data.images import (
    EncodedColumn,
    Held,
    held_column,
    holds_encoded_images,
    images_column,
    is_image,
)
from advisor.data.parquet_tables import reads_as_text
from advisor.data.split_files import splits_of_names
from advisor.data.splits import SPLITS
from advisor.data.tables import Tables, known_splits, merged_names, of_enum, refuse_no_rows
from tuner import memory
from tuner.errors import DataError, did_you_mean
from tuner.inputs.given import plain_list

if TYPE_CHECKING:
    import pyarrow as pa


def unread_list(data: Sequence[Any]) -> DataError:
    """The error for a list that holds no rows, by what is in it."""
    if not data:
        return DataError("the list is empty", why="it holds no rows", fix="pass a list with at least one row")
    first = data[0]
    fix = (
        "pass rows as dictionaries, such as [{'text': ..., 'label': ...}, ...], a pandas DataFrame, or (texts, labels)"
    )
    if isinstance(first, (tuple, list)):
        return DataError(
            f"a list of {len(data):,} {type(first).__name__}s cannot be read",
            why="which of their values are texts and which are labels is not said",
            fix="pass (texts, labels), for pairs: texts, labels = zip(*rows); or a pandas DataFrame with named columns",
        )
    return DataError(
        f"a list with a value of type {type(first).__name__} in it cannot be read",
        why="rows are texts, or dictionaries with named values",
        fix=fix,
    )


def are_columns(data: Mapping[Any, Any]) -> bool:
    """Whether a dictionary maps names to lists of values, as many each, rather than splits to tables."""
    values = list(data.values())
    lists = all(isinstance(part, (list, tuple)) or getattr(part, "ndim", 0) == 1 for part in values)
    return bool(values) and lists and len({len(part) for part in values}) == 1 and not splits_of_names(map(str, data))


def as_frame(data: Any) -> Any:
    """Make a pandas DataFrame of columns by name, or of a list of rows."""
    import pandas as pd

    return pd.DataFrame({name: list(values) for name, values in data.items()} if isinstance(data, Mapping) else data)


# --- data in memory


def read_mapping(data: Mapping[Any, Any]) -> Tables:
    """Read a `DatasetDict`, or a dictionary from split names to data frames, pairs of lists or datasets."""
    parts = {str(name): part for name, part in data.items()}
    if parts and all(hasattr(part, "features") and hasattr(part, "column_names") for part in parts.values()):
        return from_datasets(parts, name="data", place="the dataset")
    split_of = {name: split for split, names in splits_of_names(parts).items() for name in names}
    known = {split_of.get(name) for name in parts}
    if len(known) < len(parts) and None not in known:
        raise DataError(
            f"two of the keys {', '.join(parts)} name one split",
            why="it is not clear which one is meant",
            fix="name the data frames train, validation and test",
        )
    if not parts or None in known or not all(hasattr(part, "iloc") or is_pair(part) for part in parts.values()):
        odd = next((name for name in parts if name not in split_of), "")
        raise DataError(
            f"a dictionary with the keys {', '.join(list(parts)[:8]) or '(none)'} cannot be read."
            + did_you_mean(odd, ("all", *SPLITS)),
            why="its keys must be split names (train, validation, test, all) and its values data frames or datasets",
            fix="pass such a dictionary, a pandas DataFrame, or (texts, labels)",
        )
    tables: dict[str, pa.Table] = {}
    held: dict[str, Any] = {}
    for name, part in parts.items():
        place = f"the data frames: {name}"
        tables[split_of[name]], of_part = (
            from_frame(part, place=place) if hasattr(part, "iloc") else from_lists(*part, place=place)
        )
        held |= of_part
    return Tables(
        name="data",
        place="the data frames",
        parts=tables,
        held=held,
        in_memory=True,
        in_lists=not all(hasattr(part, "iloc") for part in parts.values()),
    )


def is_pair(data: Any) -> bool:
    """Whether data is two lists: texts, images or sentences, and their labels."""
    return isinstance(data, (tuple, list)) and len(data) == 2 and not any(isinstance(p, (str, bytes)) for p in data)


def from_lists(texts: Any, labels: Any, *, place: str = "the lists") -> tuple[pa.Table, Held]:
    """Make a table of a list of texts, images or sentences and a list of their labels."""
    import pyarrow as pa

    texts = texts if _is_array_of_images(texts) else plain_list(texts)
    labels = plain_list(labels)
    if holds_lists(texts) and holds_lists(labels):
        return _from_sentences(texts, labels), {}
    first = next((text for text in texts if text is not None), None) if len(texts) else None
    if isinstance(first, bytes) and reads_as_text(first):
        raise DataError(
            "the texts are bytes, and no pictures",
            why="texts are given to a tokenizer, which reads strings",
            fix="decode them: [text.decode() for text in texts]",
        )
    if is_image(first):
        return _from_images(texts, labels, place=place)
    if len(texts) != len(labels):
        raise DataError(
            f"{len(texts):,} texts but {len(labels):,} labels",
            why="the n-th label belongs to the n-th text",
            fix="pass two lists of the same length",
        )
    refuse_no_rows(len(texts), place=place)
    wrong = next((i for i, text in enumerate(texts) if text is not None and not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(
            f"the text at position {wrong} is of type {type(texts[wrong]).__name__}, not str",
            why="texts are given to a tokenizer as they are",
            fix="pass (texts, labels), texts first, every text a string",
        )
    return pa.table({"text": column_from_values(texts), "label": column_from_values(labels)}), {}


def _from_sentences(tokens: Sequence[Any], tags: Sequence[Any]) -> pa.Table:
    import pyarrow as pa

    if len(tokens) != len(tags):
        raise DataError(
            f"{len(tokens):,} sentences but {len(tags):,} rows of tags",
            why="the n-th row of tags belongs to the n-th sentence",
            fix="pass two lists of the same length",
        )
    return pa.table({"tokens": column_from_values(tokens), "tags": column_from_values(tags)})


def _is_array_of_images(given: Any) -> bool:
    return getattr(given, "ndim", 1) >= 3


def _from_images(images: Any, labels: Any, *, place: str) -> tuple[pa.Table, Held]:
    import pyarrow as pa

    labels = list(labels)
    if len(images) != len(labels):
        raise DataError(
            f"{len(images):,} images but {len(labels):,} labels",
            why="the n-th label belongs to the n-th image",
            fix="pass two lists of the same length",
        )
    column, held = images_column(images, place=f"{place}: images")
    return pa.table({"image": column, "label": column_from_values(labels)}), held


def from_frame(frame: Any, *, place: str) -> tuple[pa.Table, Held]:
    """A pandas DataFrame; object columns of one scalar type or of lists are converted, others become text or named.

    Columns of images are held as they are, and referred to.
    """
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    refuse_repeated(names, place="the data frame")
    refuse_no_rows(len(frame), place="the data frame")
    columns = []
    held: dict[str, Any] = {}
    for position in range(len(names)):
        series = frame.iloc[:, position]
        if str(series.dtype) == "object":
            values = [of_enum(value) for value in series.tolist()]
            if _are_images(values):
                column, of_column = images_column(values, place=f"{place}: {names[position]}")
                held |= of_column
            else:
                column = column_from_values(values)
            columns.append(column)
            continue
        try:
            column = pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            column = pa.array(series.astype(str), pa.string())
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if isinstance(kind, pa.BaseExtensionType):  # intervals, such as pandas.cut makes: their names are the values
            missing = series.isna()
            column = pa.array([None if gone else str(v) for v, gone in zip(series, missing, strict=True)], pa.string())
        keeps = not is_nested(column.type) or keeps_lists(column.type)
        columns.append(column if keeps else nested_placeholder(len(frame)))
    return pa.table(columns, names=names), held


def _are_images(values: Sequence[Any]) -> bool:
    """Whether an object column holds images and nothing else; most hold strings, which the first one tells."""
    filled = (value for value in values if value is not None and not (isinstance(value, float) and value != value))
    first = next(filled, None)
    return is_image(first) and all(is_image(value) or isinstance(value, str) for value in filled)


def from_datasets(parts: Mapping[str, Any], *, name: str, place: str) -> Tables:
    """Read `datasets` objects, by split, as tables."""
    tables: dict[str, pa.Table] = {}
    held: dict[str, Any] = {}
    class_names: dict[str, tuple[str, ...]] = {}
    item_names: list[dict[str, tuple[str, ...]]] = []
    known, ignored = known_splits(parts, place=place)
    for split, dataset in known.items():
        if not hasattr(dataset, "__len__"):
            raise DataError(
                f"{place} is a stream of unknown length",
                why="counts, classes and splits are made from all rows",
                fix="load it without streaming=True",
            )
        refuse_no_rows(len(dataset), place=f"{place}, split {split}" if len(parts) > 1 else place)
        class_names |= _names_in(dataset.features)
        item_names.append(_names_in({name: getattr(of, "feature", None) for name, of in dataset.features.items()}))
        tables[split], of_split = _from_dataset(dataset, item_names=item_names[-1], place=f"{place}, {split}")
        held |= of_split
    warnings = (f"{place} has splits that were ignored: {', '.join(ignored)}",) if ignored else ()
    return Tables(
        name=name,
        place=place,
        parts=tables,
        held=held,
        class_names=class_names,
        item_names=merged_names(item_names),
        in_memory=place == "the dataset",
        warnings=warnings,
    )


def _names_in(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names of classes by column, of those that hold classes."""
    return {name: tuple(of.names) for name, of in features.items() if type(of).__name__ == "ClassLabel"}


def _from_dataset(dataset: Any, *, item_names: Mapping[str, Sequence[str]], place: str) -> tuple[pa.Table, Held]:
    """The columns of scalars and lists of a `datasets.Dataset`, and references to its images; others are only named.

    Lists of classes become lists of their names. Lists that take more than a quarter of the free memory are only named.
    """
    import pyarrow as pa

    schema = dataset.features.arrow_schema
    plain = [item.name for item in schema if not is_nested(item.type)]
    plain += _small_lists(dataset, [item.name for item in schema if keeps_lists(item.type)])
    columns: dict[str, Any] = {}
    if plain:
        table = dataset.select_columns(plain).with_format("arrow")[:]
        columns = {column: table.column(column) for column in plain}
    for name, names in item_names.items():
        if name in columns and keeps_lists(columns[name].type):
            columns[name] = names_of_items(columns[name], names)
    held = {}
    for item in schema:
        if holds_encoded_images(item.type, feature=type(dataset.features[item.name]).__name__):
            of_column = f"{place}: {item.name}"
            held[of_column] = _dataset_images(dataset, item.name)
            columns[item.name] = held_column(of_column, len(dataset))
    return pa.table({n: columns.get(n, nested_placeholder(len(dataset))) for n in schema.names}), held


def _small_lists(dataset: Any, names: Sequence[str]) -> list[str]:
    """The columns that are not much beside the free memory, as embeddings of many rows may be; all where unknown."""
    free = memory.free_memory()
    sizes = {name: dataset.data.column(name).nbytes for name in names}
    return [name for name, size in sizes.items() if free is None or size <= free / 4]


def _dataset_images(dataset: Any, column: str) -> EncodedColumn:
    """Encoded images as the dataset stores them, in its order; a memory map stays one."""
    rows = dataset.select_columns([column]).with_format("arrow")
    return EncodedColumn(lambda start, n: rows[start : start + n].column(column), n_rows=len(dataset))
