"""Dividing rows: what splits are called, numbers for texts, distinct pairs, a stratified choice of whole units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.inputs.pairs import BETWEEN

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "all": "all",
}
"""What a class folder may be called and still be a split, whatever stands beside it."""

SPLITS = ("train", "validation", "test")

_INVISIBLE = re.compile("[\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Soft hyphens, marks of direction, joiners and blanks of no width."""

_SPLIT_WORDS = {
    "train": ("train", "training", "trn", "tr"),
    "validation": (
        "validation",
        "validate",
        "valid",
        "val",
        "vld",
        "dev",
        "devel",
        "eval",
        "evaluation",
        "development",
    ),
    "test": ("test", "testing", "tst", "te", "ts", "holdout", "heldout"),
}
_SPLIT_OF_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_FAINT_WORDS = frozenset({"tr", "te", "ts"})  # also languages (Turkish, Telugu) and endings of files
_FILLERS = frozenset({"set", "sets", "data", "dataset", "datasets", "split", "splits", "file", "files", "part", "of"})
_UNLABELLED = frozenset(
    {"pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled", "unsup", "unsupervised", "submission"}
)
SHARD = re.compile(r"[-_.]\d{3,6}[-_]of[-_]\d{3,6}(-[0-9a-f]{8,40})?$")
"""What the name of a part of a split ends in, as `datasets` writes it: ``-00000-of-00002``, sometimes with a hash."""


def split_of_name(name: str) -> str | None:
    """The split that the name of a file (without its ending) or folder stands for; None where it says none, or two.

    The word for the split comes last, or first with nothing but numbers and words such as "set" after it. Of several
    names that stand beside each other, `splits_of_siblings` can tell more.

    >>> [split_of_name(name) for name in ("Training", "reviews_train", "test-set", "X_val", "train-00000-of-00002")]
    ['train', 'train', 'test', 'validation', 'train']
    >>> [split_of_name(name) for name in ("test_tube", "contest", "train_test", "reviews")]
    [None, None, None, None]
    """
    if name.strip().lower() == "all":
        return "all"
    words = _words(name)
    while len(words) > 1 and _says_nothing(words[-1]):
        words.pop()
    while len(words) > 1 and _says_nothing(words[0]):
        words.pop(0)
    found = {_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD}
    if len(found) != 1 or words[-1] not in _SPLIT_OF_WORD or _UNLABELLED.intersection(words):
        return None
    return found.pop()


def splits_of_siblings(names: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """The names of each split where the names beside each other, as of folders, are those of splits; else None.

    What is left of each name without its split must be the same in all of them ("seg" of ``seg_train`` and
    ``seg_test``), so that classes called ``steam_train`` and ``blood_test`` stay classes. Names of rows without labels
    ("pred", "unlabelled") may stand beside them and are in no split; any other name makes all of them no splits.

    >>> splits_of_siblings(["seg_pred", "seg_test", "seg_train"])
    {'test': ('seg_test',), 'train': ('seg_train',)}
    >>> splits_of_siblings(["train_images", "test_images"])
    {'train': ('train_images',), 'test': ('test_images',)}
    >>> [splits_of_siblings(names) for names in (["test_tube", "beaker"], ["valid", "invalid"], ["steam_train"])]
    [None, None, None]
    """
    found: dict[str, list[str]] = {}
    rests = set()
    faint = True
    for name in names:
        words = [word for word in _words(name) if not _says_nothing(word)]
        meant = [word for word in words if word in _SPLIT_OF_WORD]
        if _UNLABELLED.intersection(words):
            continue
        if len({_SPLIT_OF_WORD[word] for word in meant}) != 1:
            return None
        found.setdefault(_SPLIT_OF_WORD[meant[0]], []).append(name)
        rests.add(tuple(word for word in words if word not in _SPLIT_OF_WORD))
        faint &= _FAINT_WORDS.issuperset(meant)
    if len(found) == 1 and (faint or rests != {()}):  # one split: its name alone must say so
        return None
    if not found or len(rests - {()}) > 1:
        return None
    return {split: tuple(of_split) for split, of_split in found.items()}


def says_so_faintly(name: str) -> bool:
    """Whether the word for a split in a name may as well be a language's: ``tr`` is Turkish, too.

    >>> says_so_faintly("reviews_tr"), says_so_faintly("reviews_train")
    (True, False)
    """
    found = _SPLIT_OF_WORD.keys() & set(_words(name))
    return bool(found) and _FAINT_WORDS.issuperset(found)


def _words(name: str) -> list[str]:
    """The words of a name in small letters, numbers apart; words that are written as one are parted."""
    name = SHARD.sub("", name.strip())
    name = re.sub(r"(?i)(hold|held)[-_. ]out", "holdout", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d])(?=\d)", " ", name)
    words: list[str] = []
    for word in re.findall(r"[^\W_]+", name.lower()):
        joined = re.fullmatch(r"(\w+?)(set|data|dataset|split|file)", word)
        joined = joined if joined and joined[1] in _SPLIT_OF_WORD.keys() - _FAINT_WORDS else None
        words.extend(joined.groups() if joined else (word,))
    return words


def _says_nothing(word: str) -> bool:
    """Whether a word is a number, a version, or such as "set"."""
    return word in _FILLERS or word.isdigit() or word == "v"


TEST_SHARE, MOST_TEST_ROWS = 0.2, 10_000
VALIDATION_SHARE, MOST_VALIDATION_ROWS = 0.2, 5_000
FEWEST_TRAINING_ROWS = 3
"""Distinct training texts or images a class needs, so that cross-validated probes see each class in every fold."""


def number_texts(texts: pa.ChunkedArray, *, folded: bool = False) -> NDArray[np.int32]:
    """A number for each distinct text, in order of first appearance; with `folded`, by `fold_text`.

    Texts are told apart by Python's 64-bit string hash, in batches: a dictionary of a million texts would cost as much
    memory as the texts, and two different ones among them share a hash with a probability of 3 in 100 million.
    """
    import pandas as pd
    import pyarrow as pa

    hashes = np.empty(len(texts), np.int64)
    start = 0
    for batch in pa.table({"text": texts}).to_batches(max_chunksize=1 << 15):
        values = batch.column(0).to_numpy(zero_copy_only=False)
        read = map(fold_text, values) if folded else values
        hashes[start : start + len(values)] = np.fromiter(map(hash, read), np.int64, len(values))
        start += len(values)
    return np.asarray(pd.factorize(hashes)[0], np.int32)


def fold_text(text: str) -> str:
    """A text without what hardly any reader tells apart: capitals, white space, forms of characters (NFKC).

    >>> fold_text("Good  film ") == fold_text("good\u00a0film"), fold_text("\ufb01lm") == fold_text("Film")
    (True, True)
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
        # Folding may bring up forms that are to be normalised again.
        text = unicodedata.normalize("NFKC", text)
        return BETWEEN.join(" ".join(part.split()) for part in text.split(BETWEEN))
    return " ".join(text.lower().split())


def leaks(split: NDArray[np.int8], text_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which validation or test rows have a text that train has, too; `split` (n,) indexes `SPLITS`."""
    in_train = np.zeros(int(text_ids.max()) + 1, bool)
    in_train[text_ids[split == 0]] = True
    return np.asarray(in_train[text_ids] & (split > 0))


def ids_per_class(ids: NDArray[Any], labels: NDArray[np.int32], n_classes: int) -> NDArray[np.int64]:
    """How many different ids each class has."""
    return np.bincount(distinct_pairs(ids, labels, n_classes) % n_classes, minlength=n_classes)


def distinct_pairs(ids: NDArray[Any], labels: NDArray[np.int32], n_classes: int) -> NDArray[np.int64]:
    """The distinct (id, label) pairs, each as one number."""
    import pandas as pd

    return np.asarray(pd.unique(ids.astype(np.int64) * n_classes + labels))


def labels_per_text(text_ids: NDArray[np.int32], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many different labels each text has."""
    n_classes = int(labels.max()) + 1
    return np.bincount(distinct_pairs(text_ids, labels, n_classes) // n_classes)


def kept_together(text_ids: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]] | None) -> NDArray[np.int32]:
    """A number for each set of rows that folds must not part: equal texts, equal groups, and what these link.

    >>> kept_together(np.array([0, 1, 0, 2]), None).tolist()
    [0, 1, 0, 2]
    >>> kept_together(np.array([0, 1, 0, 2]), np.array([7, 8, 8, 9])).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts = np.asarray(np.unique(text_ids, return_inverse=True)[1], np.int32)
    if groups is None:
        return texts
    own = np.unique(groups, return_inverse=True)[1] + int(texts.max()) + 1
    n = int(own.max()) + 1
    links = coo_array((np.ones(len(texts), np.int8), (texts, own)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1][texts], np.int32)


def sentence_units(text_ids: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Number the sets of sentences that folds must not part, as `kept_together` does.

    The groups alone count where copies would link more than half of the rows to one set: short sentences, such as
    datelines, stand in document after document, and with them nothing could be divided.

    >>> sentence_units(np.array([0, 1, 0, 2]), np.array([7, 8, 9, 9])).tolist()
    [0, 1, 2, 2]
    """
    units = kept_together(text_ids, groups)
    if 2 * int(np.bincount(units).max()) <= len(units):
        return units
    return np.asarray(np.unique(groups, return_inverse=True)[1], np.int32)


def carve(
    units: NDArray[np.integer[Any]],
    labels: NDArray[np.int32],
    *,
    share: float,
    most: int,
    keep: int = 1,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose a share of the rows, the same share of every class, whole units only.

    A unit (copies of one text, or the rows of one group) counts for the rarest class it holds, so that rare classes
    are spread. Every class with two units or more has one chosen.

    Args:
        units: (n,) numbers of the units that the rows belong to.
        labels: (n,) numbers of the rows' classes.
        share: of all rows, 0 to 1.
        most: rows to choose at most.
        keep: units of each class that are not chosen, where it has as many.
        rng: draws the units.

    Returns:
        (n,) booleans, True for the rows that are chosen.

    >>> chosen = carve(np.arange(10), np.array([0] * 5 + [1] * 5), share=0.4, most=100, rng=np.random.default_rng(0))
    >>> int(chosen[:5].sum()), int(chosen[5:].sum())
    (2, 2)
    """
    import pandas as pd

    unit = pd.factorize(units)[0].astype(np.int32)
    n_units, class_sizes = int(unit.max()) + 1, np.bincount(labels)
    n_strata = len(class_sizes)
    rarity = np.empty(n_strata, np.int32)
    rarity[np.argsort(class_sizes, kind="stable")] = np.arange(n_strata, dtype=np.int32)
    stratum = np.full(n_units, n_strata, np.int32)
    np.minimum.at(stratum, unit, rarity[labels])
    sizes = np.bincount(unit, minlength=n_units).astype(np.int32)
    totals = np.bincount(stratum, weights=sizes, minlength=n_strata)
    targets = _shares(totals, total=min(round(share * len(labels)), most))

    # Units larger than their class's share come last, smallest first: one huge group must not become the test split.
    too_large = sizes > targets[stratum]
    shuffled = rng.permutation(np.arange(n_units, dtype=np.int32))
    order = np.lexsort((shuffled, np.where(too_large, sizes, 0), too_large, stratum))
    del too_large, shuffled
    stratum, sizes = stratum[order], sizes[order]
    counts = np.bincount(stratum, minlength=n_strata)
    starts = np.cumsum(counts) - counts
    rank = np.arange(n_units, dtype=np.int32) - starts.astype(np.int32)[stratum]
    before = np.cumsum(sizes) - sizes  # rows of the units ahead, first of all units, then of the same class
    before -= before[np.minimum(starts, n_units - 1)][stratum]
    fits = before + sizes / 2 <= targets[stratum]
    enough_stay = rank < counts[stratum] - np.minimum(keep, np.maximum(counts[stratum] - 1, 1))
    chosen = np.zeros(n_units, bool)
    chosen[order] = (fits | (rank == 0)) & enough_stay
    return np.asarray(chosen[unit], bool)


def _shares(totals: NDArray[Any], *, total: int) -> NDArray[np.int64]:
    """Divide `total` in proportion to `totals`, in whole numbers, largest remainders first; none of a class gets 0."""
    exact = total * totals / totals.sum()
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return np.where(totals > 0, np.maximum(whole, 1), 0)


def without_leaks(
    split: NDArray[np.int8], text_ids: NDArray[np.int32], *, place: str, noun: str
) -> tuple[NDArray[np.int8], int]:
    """Leave out rows whose text occurs again in a later split, and count the later rows whose text train had held.

    Args:
        split: (n,) positions in `SPLITS`, -1 for rows in none.
        text_ids: (n,) numbers of the distinct texts.
        place: what messages call the data.
        noun: what messages call a text.

    Returns:
        (n,) positions in `SPLITS`, -1 for rows that are left out, and the number of later rows that train had held.

    Raises:
        DataError: where most of a split would be left out.

    >>> without_leaks(np.array([0, 0, 0, 2, 2]), np.array([0, 1, 2, 2, 3]), place="data", noun="text")
    (array([ 0,  0, -1,  2,  2], dtype=int8), 1)
    """
    n_texts = int(text_ids.max()) + 1
    occurs = np.zeros((3, n_texts), bool)
    for number in range(3):
        occurs[number, text_ids[split == number]] = True
    n_leaked = int(leaks(split, text_ids).sum())
    leaves = ((split == 0) & (occurs[1] | occurs[2])[text_ids]) | ((split == 1) & occurs[2][text_ids])
    for number in (0, 1):
        before, lost = int((split == number).sum()), int((leaves & (split == number)).sum())
        if before and 2 * lost > before:
            raise DataError(
                f"{place}: {lost:,} of {before:,} {SPLITS[number]} {noun}s occur again in "
                f"{'validation or test' if number == 0 else 'test'}",
                why=f"a score on {noun}s that were seen in training says nothing about new ones",
                fix="divide the rows anew: pass them as one file, and the splits are made without overlap",
            )
    return np.where(leaves, -1, split).astype(np.int8), n_leaked


def carve_missing(
    split: NDArray[np.int8],
    units: NDArray[np.int32],
    labels: NDArray[np.int32],
    *,
    to_carve: Sequence[str],
    seed: tuple[int, int],
) -> NDArray[np.int8]:
    """Move rows from training into the splits that were not given, test before validation (`carve`).

    Args:
        split: (n,) positions in `SPLITS`, -1 for rows in none.
        units: (n,) numbers of what stays together.
        labels: (n,) numbers of the rows' classes, or of other strata.
        to_carve: ``test``, ``validation``, both in this order, or none.
        seed: two numbers, of the draw; rows of the two splits are drawn with seeds of their own.

    Returns:
        (n,) positions in `SPLITS`; the array that was given is left as it is.
    """
    split = split.copy()
    for name, share, most in (
        ("test", TEST_SHARE, MOST_TEST_ROWS),
        ("validation", VALIDATION_SHARE, MOST_VALIDATION_ROWS),
    ):
        if name in to_carve:
            rng = np.random.default_rng([*seed, SPLITS.index(name)])
            pool = np.flatnonzero(split == 0)
            later = len(to_carve) - 1 - list(to_carve).index(name)
            keep = FEWEST_TRAINING_ROWS + later
            chosen = carve(units[pool], labels[pool], share=share, most=most, keep=keep, rng=rng)
            split[pool[chosen]] = SPLITS.index(name)
    return split


# --- what is said of rows


def leakage_note(n_leaked: int, n_left_out: int, *, noun: str, n_near: int = 0) -> str:
    """The warning of what was done about rows of later splits that train had held.

    Args:
        n_leaked: validation and test rows whose text also occurs in train.
        n_left_out: earlier rows that were left out for it.
        noun: what is classified: a text, an image.
        n_near: how many of `n_leaked` are written a little differently; 0 omits them.
    """
    near = ""
    if n_near:
        near = f" ({n_near:,} of them but for capitals, white space or forms of characters)"
    return (
        f"leakage: {n_leaked:,} validation or test rows have {with_article(noun)} that also occurs in train{near}; the "
        f"earlier copies ({n_left_out:,} rows) were left out, so that scores are about new {noun}s"
    )


def shared_groups(groups: NDArray[np.int32] | None, split: NDArray[np.int8]) -> list[str]:
    """A warning where given splits share groups, which splits made here never do; an empty list where they do not."""
    if groups is None:
        return []
    shared = int(np.isin(groups[split > 0], groups[split == 0]).sum())
    if not shared:
        return []
    return [f"leakage: {shared:,} validation or test rows are of a group that train has too; given splits were kept"]


def repeats_note(n_duplicates: int, n: int, *, noun: str) -> str:
    """How many of n rows are copies, where they are many."""
    return (
        f"{n_duplicates:,} rows ({percent_of(n_duplicates, n)}) repeat {with_article(noun)} exactly; no {noun} stands "
        "in two splits"
    )


def percent_of(part: int, whole: int) -> str:
    """A share of rows as people say it.

    >>> percent_of(1, 3), percent_of(1, 300), percent_of(1, 3000)
    ('33 %', '0.3 %', 'under 0.1 %')
    """
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 else f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun.

    >>> with_article("image"), with_article("text")
    ('an image', 'a text')
    """
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
