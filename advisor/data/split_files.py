"""Which files of a folder, or parts of a dictionary, are its splits, and which are not used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advisor.data.splits import SHARD, says_so_faintly, split_of_name, splits_of_siblings
from tuner.errors import DataError, MissingFileError
from tuner.regular import check_regular

DESCRIPTIONS = frozenset({"meta", "metadata", "readme", "dataset_info", "dataset_infos", "state", "config", "license"})
"""Names of files that come with a dataset and describe it."""
_TABLES = frozenset(
    {
        ".csv",
        ".tsv",
        ".tab",
        ".psv",
        ".jsonl",
        ".ndjson",
        ".parquet",
        ".pq",
        ".xlsx",
        ".xls",
        ".ods",
        ".feather",
        ".arrow",
    }
)
_MAY_BE_TABLES = frozenset({".json", ".txt", ".gz", ".zip", ".bz2", ".xz", ".zst"})


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """The files of each split, shards in order, and the names of tables beside them that are not used."""

    files: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def notes(self, folder: Path) -> list[str]:
        """A warning that names the tables that are not used; none where all are."""
        if not self.unused:
            return []
        shown = ", ".join(self.unused[:5]) + (f" and {len(self.unused) - 5:,} more" if len(self.unused) > 5 else "")
        one = len(self.unused) == 1
        return [
            f"{folder}: {shown} {'was' if one else 'were'} not read; the splits are "
            f"{', '.join(path.name for of_split in self.files.values() for path in of_split[:1])}"
        ]


def find_split_files(folder: Path, endings: Collection[str], *, others: Collection[Path] = ()) -> SplitFiles:
    """The folder's files with one of these endings, and `others`, that are named after splits.

    A plain name, ``test.csv``, is preferred to a longer one, ``reviews_test.csv``, which is then not used. Raises
    `DataError` where two are equally plain and no parts of one.
    """
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path in others or (path.suffix.lower() in endings and not path.is_dir())
    ]
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(path.stem, []).append(path)
    found: dict[str, list[Path]] = {}
    for split, names in splits_of_names(list(by_name)).items():
        found[split] = [path for name in names for path in by_name[name]]
        for path in found[split]:
            _check_split_file(path)
        if len(found[split]) > 1 and not all(SHARD.search(path.stem) for path in found[split]):
            plain = [path for path in found[split] if path.stem.lower() == split]
            found[split] = plain if len(plain) == 1 else found[split]
        if len(found[split]) > 1 and not _are_shards(found[split]):
            raise DataError(
                f"{folder} has more than one {split} file: {', '.join(path.name for path in found[split])}",
                why="it is not clear which one is meant",
                fix="leave one of them in the folder, or pass a single file",
            )
    used = {path for of_split in found.values() for path in of_split}
    read = {path.suffix.lower() for path in used}
    unused = [
        path.name
        for path in sorted(folder.iterdir())
        if used and path not in used and path.is_file() and path.stem.lower() not in DESCRIPTIONS
        if _is_table(path, read=read)
    ]
    return SplitFiles(files={split: tuple(of_split) for split, of_split in found.items()}, unused=tuple(unused))


def _check_split_file(path: Path) -> None:
    """Raise where a folder's entry that is named after a split is a pipe, a device, or a link to nowhere."""
    check_regular(path)
    if not path.is_file():
        raise MissingFileError(
            f"{path} is a link that leads nowhere",
            why="a split of the dataset is read from it",
            fix="put the file there that it should lead to, or remove the link",
        )


def splits_of_names(names: Iterable[str]) -> dict[str, Sequence[str]]:
    """The names that each split has, seen together where that tells more; nothing of those that say no split.

    >>> splits_of_names(["reviews_train", "reviews_test", "notes"])
    {'train': ['reviews_train'], 'test': ['reviews_test']}
    >>> splits_of_names(["train_reviews", "test_reviews"])
    {'train': ('train_reviews',), 'test': ('test_reviews',)}
    """
    names = list(names)
    found: dict[str, list[str]] = {}
    for name in names:
        if (split := split_of_name(name)) is not None:
            found.setdefault(split, []).append(name)
    together = splits_of_siblings(names)
    if together is not None and sum(map(len, together.values())) > sum(map(len, found.values())):
        return dict(together)
    if together is None and all(says_so_faintly(name) for of_split in found.values() for name in of_split):
        return {}
    return dict(found)


def _is_table(path: Path, *, read: Collection[str]) -> bool:
    """Whether a file beside the splits is a table, by its ending: one of those that are `read`, or of tables only.

    Texts, JSON and packed files hold anything, and count where they are named after a split.
    """
    ending = path.suffix.lower()
    return ending in _TABLES or (
        (ending in read or ending in _MAY_BE_TABLES) and split_of_name(path.name.partition(".")[0]) is not None
    )


def _are_shards(paths: Sequence[Path]) -> bool:
    """Whether files are the numbered parts of one: alike but for the number."""
    return (
        all(SHARD.search(path.stem) for path in paths) and len({SHARD.sub("", p.stem) + p.suffix for p in paths}) == 1
    )
