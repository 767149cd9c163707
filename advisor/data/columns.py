"""Which column holds the texts or images and which the labels: guessed where only one answer makes sense."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from advisor.data.cells import is_nested
from advisor.data.column_kinds import are_codes, is_bookkeeping, kind_of_cells, numbers_as_classes
from advisor.data.images import IMAGE_SUFFIXES, is_reference
from tuner.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

# Earlier tiers win: a table with "title" and "text" has its texts in "text".
TEXT_NAMES = (
    ("text", "texts"),
    ("sentence", "content", "review", "review_text", "body", "document", "tweet", "comment", "comment_text", "question",
     "query", "utterance", "message", "sms", "post", "abstract", "article", "passage"),
    ("title", "headline", "description", "summary", "subject"),
)  # fmt: skip
IMAGE_NAMES = (
    ("image", "images", "img", "picture", "photo"),
    ("image_path", "img_path", "image_file", "image_name", "pixels", "bytes"),
    ("path", "file", "filename", "file_name", "file_path", "filepath"),
)
LABEL_NAMES = (
    ("label", "labels"),
    ("class", "classes", "category", "target", "intent", "sentiment", "emotion", "topic", "y", "tag"),
    ("label_text", "label_name", "class_name", "category_name"),
    ("label_id", "labelid", "label_idx", "class_id", "class_index", "category_id", "target_id"),
)

RATING_NAMES = ("stars", "star", "star_rating", "rating", "ratings", "score", "polarity", "stance")
"""Names of labels where the cells are few whole numbers or names; of means and amounts otherwise."""
_ALL_LABEL_NAMES = frozenset(name for tier in LABEL_NAMES for name in tier)
_ALL_TEXT_NAMES = frozenset(name for tier in TEXT_NAMES for name in tier)

_SAMPLE_ROWS = 10_000
_FIRST_CELLS = 5


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns that are read: texts (of pairs the second one too) or images, labels, groups."""

    text: str | None = None
    text_pair: str | None = None
    image: str | None = None
    label: str | None
    group: str | None

    @property
    def content(self) -> str:
        """The column of texts or images, which are classified."""
        name = self.text if self.image is None else self.image
        assert name is not None
        return name


def choose_columns(
    table: pa.Table,
    *,
    place: str,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    labelled: bool = True,
    images: bool = False,
    several: bool = False,
) -> Columns:
    """Choose the columns of texts or images, labels and groups: those the options name, else good guesses.

    A guess goes by name first (``text``, ``review``...; ``label``, ``category``...), then by content: the only column
    of long, varied strings; the only one with few distinct values. Columns that divide the rows in the same way
    (``label`` beside ``label_id``) count as one, the readable one.

    Args:
        table: the rows.
        place: what messages call the data.
        text: the column of texts; None to guess it.
        text_pair: the column of the second texts of pairs; None where there are no pairs.
        image: the column of images or of paths to them; None where texts are classified, or with `images` to guess it.
        label: the column of labels; None to guess it where the rows are `labelled`.
        group: the column whose equal values stay in one split; None where there is none.
        labelled: whether labels are needed.
        images: whether a column of images or of paths to them is taken where no column holds texts.
        several: whether the column of labels that is named holds lists of them.

    Raises:
        DataError: for columns that are missing, ambiguous or hold nested values.
        OptionError: for options that contradict each other.
    """
    named = {"--text": text, "--text-pair": text_pair, "--image": image, "--label": label, "--group": group}
    for option, name in named.items():
        if name is not None:
            _check_named(table, name, option=option, place=place, lists=several and option == "--label")
    if text_pair is not None:
        _check_pair_option(table, text_pair, named=named)
    if image is not None:
        _check_image_option(table, image, text=text, label=label, group=group)
    if text is not None and text == label:
        raise OptionError(
            f"--text and --label both name the column '{text}'",
            why="a text cannot be its own label",
            fix=f"choose two of: {', '.join(table.column_names)}",
        )
    if group is not None and (group == label or (group == text and text_pair is None)):
        raise OptionError(
            f"--group and --{'label' if group == label else 'text'} both name the column '{group}'",
            why="rows of a group stay in one split, so every text or class would be a group of its own",
            fix="omit --group, or name the column of what belongs together, such as an author",
        )
    sample = _sample(table)
    if images and image is None and text is None and text_pair is None:
        image = _guess_image(sample, taken={name for name in (label, group) if name is not None}, place=place)
    taken = {name for name in named.values() if name is not None} | ({image} if image is not None else set())
    if label is None and labelled:
        label = _guess(sample, LABEL_NAMES, taken=taken, option="--label", place=place, text=image or text)
        taken.add(label)
    if image is not None:
        return Columns(image=image, label=label, group=group)
    if text is None:
        taken |= {name for name in table.column_names if _plain(name) in _ALL_LABEL_NAMES}
        text = _guess(sample, TEXT_NAMES, taken=taken, option="--text", place=place, text=None)
    for option, name in (("--text", text), ("--text-pair", text_pair)):
        kind = None if name is None else table.schema.field(name).type
        if kind is not None and not _is_string(kind):
            raise DataError(
                f"{place}: column '{name}' holds values of type {kind}, not text",
                why="its cells are given to a tokenizer",
                fix=f"pass {option} with a column that holds texts; the columns are: {', '.join(table.column_names)}",
            )
    return Columns(text=text, text_pair=text_pair, label=label, group=group)


def _check_named(table: pa.Table, name: str, *, option: str, place: str, lists: bool) -> None:
    if name not in table.column_names:
        raise DataError(
            f"{place} has no column '{name}'.{did_you_mean(name, table.column_names)}",
            why=f"{option} names it",
            fix=f"pass {option} with one of: {', '.join(table.column_names)}",
        )
    kind = table.schema.field(name).type
    if option == "--image":
        if not is_reference(kind) and not _is_string(kind):
            raise DataError(
                f"{place}: column '{name}' holds values of type {kind}, no images",
                why="--image needs paths, or images as bytes, arrays or PIL images",
                fix=f"pass --image with one of: {', '.join(table.column_names)}",
            )
    elif lists:
        return
    elif is_nested(kind) and option == "--label":
        raise several_labels(name, place=place)
    elif is_nested(kind):
        raise DataError(
            f"{place}: column '{name}' holds lists, objects or bytes",
            why=f"{option} needs one text, number or name a row",
            fix="write one value a row into that column, or name another column",
        )


def _check_pair_option(table: pa.Table, pair: str, *, named: Mapping[str, str | None]) -> None:
    """Raise where the second text of a pair is its first one or its label too, or an image is named.

    It may be the group: all pairs of one text then stay in one split.
    """
    for option, name in named.items():
        if option not in ("--text-pair", "--group") and (name == pair or (option == "--image" and name is not None)):
            raise OptionError(
                f"--text-pair {pair} and {option} {name} contradict each other",
                why="a pair is two texts, in two columns of their own",
                fix=f"choose other columns; there are: {', '.join(table.column_names)}",
            )


def _check_image_option(table: pa.Table, image: str, *, text: str | None, label: str | None, group: str | None) -> None:
    if text is not None:
        raise OptionError(
            f"--image {image} and --text {text} contradict each other",
            why="one model reads images, another one texts; both together are not supported yet",
            fix="omit one of them",
        )
    for option, name in (("--label", label), ("--group", group)):
        if name == image:
            raise OptionError(
                f"--image and {option} both name the column '{image}'",
                why="an image cannot be its own label or group",
                fix=f"choose two of: {', '.join(table.column_names)}",
            )


def _guess_image(sample: pa.Table, *, taken: set[str], place: str) -> str | None:
    """The column of images or of paths to them; None where there is none, or where a column reads like text."""
    usable = [name for name in sample.column_names if name not in taken]
    inside = [name for name in usable if is_reference(sample.schema.field(name).type)]
    paths = [name for name in usable if _names_images(sample, name)]
    if not inside and not paths:
        return None
    for name in set(usable) - set(inside) - set(paths):
        if not _is_string(sample.schema.field(name).type) or _plain(name) in _ALL_LABEL_NAMES:
            continue
        if _plain(name) in _ALL_TEXT_NAMES or (_could_be_text(sample, name) and not _is_one_word(sample, name)):
            return None
    found = inside or paths
    for tier in IMAGE_NAMES:
        named = [name for name in found if _plain(name) in tier]
        if named:
            found = named
            break
    if len(found) > 1:
        raise _ambiguous(sample, found, option="--image", place=place)
    return str(found[0])


def _names_images(sample: pa.Table, name: str) -> bool:
    """Whether nearly all cells that are not blank end like the name of an image."""
    import pyarrow.compute as pc

    if not _is_string(sample.schema.field(name).type):
        return False
    suffixes = tuple(IMAGE_SUFFIXES)
    first = [value for value in sample.column(name).slice(0, _FIRST_CELLS).to_pylist() if value and value.strip()]
    if first and not any(value.strip().lower().endswith(suffixes) for value in first):  # spares most columns a pattern
        return False
    cells = pc.utf8_trim_whitespace(sample.column(name))
    filled = pc.sum(pc.fill_null(pc.not_equal(cells, ""), False)).as_py() or 0
    endings = "|".join(suffix[1:] for suffix in sorted(IMAGE_SUFFIXES))
    ending = pc.sum(pc.match_substring_regex(cells, rf"(?i)[^\s]\.({endings})$")).as_py() or 0
    return bool(filled and ending >= 0.9 * filled)


def _is_one_word(sample: pa.Table, name: str) -> bool:
    """Whether most cells are identifiers or paths rather than words in a row."""
    import pyarrow.compute as pc

    return bool((pc.mean(pc.match_substring_regex(sample.column(name), r"^[\w.:/\\-]+$")).as_py() or 0.0) > 0.5)


@lru_cache(maxsize=1 << 18)
def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _is_string(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _sample(table: pa.Table) -> pa.Table:
    """Rows from evenly spaced places, since files are often sorted by label. Slices share memory with the table."""
    import pyarrow as pa

    if table.num_rows <= _SAMPLE_ROWS:
        return table
    n_slices = 200
    rows_each = _SAMPLE_ROWS // n_slices
    starts = [round(i * (table.num_rows - rows_each) / (n_slices - 1)) for i in range(n_slices)]
    return pa.concat_tables([table.slice(start, rows_each) for start in starts])


def _guess(
    sample: pa.Table, tiers: Sequence[Sequence[str]], *, taken: set[str], option: str, place: str, text: str | None
) -> str:
    usable = [
        item.name for item in sample.schema if item.name not in taken and not is_nested(item.type) and item.name.strip()
    ]
    for tier in tiers:
        named = [name for name in usable if _plain(name) in tier]
        if option == "--text":
            named = [name for name in named if _is_string(sample.schema.field(name).type)]
        if len(named) > 1 or (option == "--label" and tier != tiers[0]):  # dates called "target" are no classes
            named = [name for name in named if kind_of_cells(sample, name) in (None, "names of splits")]
        if named:
            return _only_one(sample, named, option=option, place=place)
    if option == "--label":
        rated = [name for name in usable if _plain(name) in RATING_NAMES and _could_be_label(sample, name)]
        if rated:
            return _only_one(sample, rated, option=option, place=place)
    fits = _could_be_text if option == "--text" else _could_be_label
    by_content = [name for name in usable if not is_bookkeeping(name) and fits(sample, name)]
    if option == "--text" and len(by_content) > 1:
        words = [name for name in by_content if _names_images(sample, name) or not _is_one_word(sample, name)]
        by_content = words or by_content
    if option == "--label" and text is None:
        # A short-text table may have few distinct texts; the label is then the column with fewest words.
        by_content = [name for name in by_content if _plain(name) not in _ALL_TEXT_NAMES]
    if by_content:
        return _only_one(sample, by_content, option=option, place=place)
    raise _none_fits(sample, option=option, place=place)


def _only_one(sample: pa.Table, names: Sequence[str], *, option: str, place: str) -> str:
    """The only name, or the most readable of labels that are the same; several others raise."""
    if len(names) == 1:
        return str(names[0])
    same = _same_partition(sample, names) if option == "--label" else None
    if same is None:
        raise _ambiguous(sample, names, option=option, place=place)
    return same


def _same_partition(sample: pa.Table, names: Sequence[str]) -> str | None:
    """The most readable of columns that divide the rows alike, or None where they do not."""
    import pyarrow.compute as pc

    codes = [
        pc.dictionary_encode(sample.column(name).combine_chunks(), null_encoding="encode").indices for name in names
    ]
    # Codes are given in order of first appearance, so equal partitions have equal codes.
    if not all(code.equals(codes[0]) for code in codes[1:]):
        return None
    return min(names, key=lambda name: not _is_wordy(sample, name))


def _is_wordy(sample: pa.Table, name: str) -> bool:
    """Whether most cells hold letters."""
    import pyarrow.compute as pc

    if not _is_string(sample.schema.field(name).type):
        return False
    letters = pc.match_substring_regex(sample.column(name), r"\p{L}")
    return bool((pc.mean(letters).as_py() or 0.0) > 0.5)


def _could_be_text(sample: pa.Table, name: str) -> bool:
    """Long, varied, wordy."""
    import pyarrow.compute as pc

    if not _is_string(sample.schema.field(name).type):
        return False
    column = sample.column(name)
    mean_length = pc.mean(pc.utf8_length(column)).as_py() or 0.0
    if mean_length < 15 or pc.count_distinct(column).as_py() <= 0.3 * sample.num_rows:
        return False
    return _is_wordy(sample, name) and kind_of_cells(sample, name) is None


def _could_be_label(sample: pa.Table, name: str) -> bool:
    """Two or more values, each on several rows on average, short; no dates, addresses, identifiers or quantities."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = sample.schema.field(name).type
    if pa.types.is_temporal(kind) or pa.types.is_null(kind):
        return False
    column = sample.column(name)
    distinct = pc.count_distinct(column).as_py()
    if not 2 <= distinct <= max(2, min(500, sample.num_rows // 4)):
        return False
    if numbers_as_classes(sample, name) is False:
        return False
    if not _is_string(kind):
        return True
    if (pc.mean(pc.utf8_length(column)).as_py() or 0.0) >= 60 or are_codes(sample, name):
        return False
    return kind_of_cells(sample, name) is None


def label_tiers_of(names: Sequence[str]) -> list[list[str]]:
    """Select the names that are usual ones of labels: a list for each tier of `LABEL_NAMES`, the most usual first."""
    return [[name for name in names if _plain(name) in tier] for tier in LABEL_NAMES]


def several_labels(name: str, *, place: str) -> DataError:
    """The error for cells that are neither a label nor a list of labels."""
    return DataError(
        f"{place}: column '{name}' holds neither a label nor a list of labels in every row",
        why="objects, bytes, fractions, lists of lists and mixtures of lists with texts are no labels",
        fix="write one label into every row of that column, or a list into every row, or name another with --label",
    )


def _ambiguous(sample: pa.Table, names: Sequence[str], *, option: str, place: str) -> DataError:
    import pyarrow.compute as pc

    what = {"--text": "texts", "--image": "images"}.get(option, "labels")
    why = "a wrong guess would advise on another task than yours"
    values = {str(value).lower() for name in names for value in pc.unique(sample.column(name)).to_pylist()[:3]}
    if option == "--label" and values <= {"0", "1", "true", "false"}:
        why = "each may be the label of a row, or all of them are several labels: then pass --label with their names, "
        why += "commas between"
    pair = "; for pairs of texts pass --text-pair with the other" if option == "--text" else ""
    return DataError(
        f"{place}: several columns could hold the {what}: {_listed(names)}",
        why=f"{why}; {_with_values(sample, names)}" if option != "--image" else why,
        fix=f"pass {option} with one of: {_listed(sample.column_names)}{pair}",
    )


def _with_values(sample: pa.Table, names: Sequence[str]) -> str:
    """Columns with three of their values each, so that a person knows them again."""
    shown = []
    for name in names[:8]:
        values = [
            value for value in sample.column(name).unique().to_pylist() if value is not None and str(value).strip()
        ]
        shown.append(f"{_short(name)} holds {', '.join(_short(' '.join(str(value).split())) for value in values[:3])}")
    return "; ".join(shown)


def _listed(names: Sequence[str]) -> str:
    """Names of columns, not more than a few lines of them."""
    most = 50
    return ", ".join(map(_short, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _none_fits(sample: pa.Table, *, option: str, place: str) -> DataError:
    what = "texts" if option == "--text" else "labels"
    nested = [item.name for item in sample.schema if is_nested(item.type)]
    if option == "--text" and any(is_reference(item.type) for item in sample.schema):
        return DataError(
            f"{place} holds images, where texts are needed",
            why="no column reads like text",
            fix="pass --text with the column that holds the texts, or texts instead of images",
        )
    if option == "--label" and all(is_reference(item.type) for item in sample.schema):
        return DataError(
            f"{place} holds images but no labels",
            why="advice is about labelled data",
            fix="save the labels beside them, such as np.savez(path, images=..., labels=...)",
        )
    usual = {name for tier in LABEL_NAMES for name in tier}
    for name in nested:
        if option == "--label" and _plain(name) in usual:
            return several_labels(name, place=place)
    names = sample.column_names
    why = f"no column has a usual name for {what}, and none looks like it"
    if nested:
        why += f"; lists, objects and bytes, as in {', '.join(nested)}, cannot be used"
    scalars = [name for name in names if name not in nested and not is_reference(sample.schema.field(name).type)]
    fix = f"pass {option} with one of the columns: {_listed(names)}"
    if len(scalars) < 2 and option == "--label":
        fix = "write texts and labels into two columns, one row a line, such as a CSV file with the header text,label"
        if not nested:
            why = "there is one column only, and it is needed for what is classified"
    elif not scalars:
        fix = f"write one value a row, such as the {what} alone, into a column of its own"
    why += f"; {_with_values(sample, scalars)}" if scalars else ""
    if any(len(name) > 40 or re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names):
        fix = "the first line looks like data: add a header line such as text,label (or pass --text and --label)"
    return DataError(f"{place}: it is not clear which column holds the {what}", why=why, fix=fix)


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
