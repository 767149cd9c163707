"""The words in which the terminal, the report and ``advice.json`` speak of each kind of data.

They are apart from what the kinds do (`advisor.kinds.base.Kind`), so that a stored run is shown without loading what
measures data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.names import COMMONEST_LABELS, EVERY_WORD_OUTSIDE, THE_MEAN, baseline_name


@dataclass(frozen=True, kw_only=True)
class Count:
    """A count of ``advice.json``: its label, the section that it is in, and its key there."""

    label: str
    section: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """A count within a sentence: the section of ``advice.json``, the key there, and how one and several are said."""

    section: str
    key: str
    one: str
    many: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """How one kind of data is spoken of.

    Attributes:
        nouns: what the rows are, several of them.
        rows: what probes and learning curves count.
        corpus: what stands for the model's pretraining data in a command.
        kept_as: what the user's own evidence calls the kind; None where evidence speaks of nothing like it.
        unlike_evidence: what such a run does, where evidence does not speak of it.
        counted: how much data there is, from the data section of ``advice.json``.
        told: what of that section is needed to speak of the data.
        classes: what is counted by class; None where there are no classes.
        baselines: what is measured without a pretrained model, by its name in ``advice.json``.
        linear: which of these is a linear model, that a pretrained one has to beat.
        own_names: of these, the ones that are called otherwise than those of other kinds.
        probe: what a probe is.
        conflicts: the advice about so many rows that are labelled in more than one way.
        main: the count that stands first in the report, and the notes under it.
        counts: all counts of the data.
        keys: counts by other words than those of most kinds.
        class_table: its caption, and the headings of its two columns.
    """

    nouns: str
    rows: str
    corpus: str
    kept_as: str | None
    unlike_evidence: str = ""
    counted: Callable[[Mapping[str, Any]], str]
    told: tuple[str, ...]
    classes: str | None
    baselines: tuple[str, ...]
    linear: str
    own_names: Mapping[str, str] = field(default_factory=dict)
    probe: str
    conflicts: Callable[[int], str]
    main: Count
    main_notes: tuple[Note, ...]
    counts: tuple[Count, ...]
    keys: Mapping[str, str] = field(default_factory=dict)
    class_table: tuple[str, str, str]

    def baseline_name(self, baseline: str) -> str:
        """The name of a baseline, as readers see it."""
        return self.own_names.get(baseline) or baseline_name(baseline)


def _of_classes(nouns: str, *, corpus: str, kept_as: str, linear: str) -> Words:
    """Words for rows that have one class each."""

    def conflicts(n: int) -> str:
        return f"check labels: {n:,} {nouns} carry more than one label"

    def counted(data: Mapping[str, Any]) -> str:
        return f"{data['n_examples']:,} examples, {data['n_classes']} classes"

    return Words(
        nouns=nouns,
        rows="rows",
        corpus=corpus,
        kept_as=kept_as,
        counted=counted,
        told=("n_classes", "class_counts"),
        classes="classes",
        baselines=("majority", linear),
        linear=linear,
        probe="A linear classifier",
        conflicts=conflicts,
        main=Count(label="Examples", section="data", key="n_examples"),
        main_notes=(
            Note(section="data", key="n_classes", one="{:,} class", many="{:,} classes"),
            Note(section="size", key="n_per_class_min", one="smallest {:,}", many="smallest {:,}"),
        ),
        counts=(
            Count(label="Examples", section="data", key="n_examples"),
            Count(label="Classes", section="data", key="n_classes"),
            Count(label="Smallest class", section="size", key="n_per_class_min"),
            Count(label="Duplicates", section="size", key="n_duplicates"),
        ),
        class_table=("Classes", "Class", "Examples"),
    )


TEXTS = _of_classes("texts", corpus="CORPUS.txt", kept_as="text", linear="tfidf_linear")
PAIRS = _of_classes("texts", corpus="CORPUS.txt", kept_as="text_pair", linear="tfidf_linear")
IMAGES = _of_classes("images", corpus="IMAGES", kept_as="image", linear="pixel_linear")


def _of_labels(nouns: str, *, corpus: str, linear: str) -> Words:
    """Words for rows that have several labels each."""

    def conflicts(n: int) -> str:
        return f"check labels: {n:,} {nouns} occur with different labels"

    def counted(data: Mapping[str, Any]) -> str:
        return (
            f"{data['n_examples']:,} examples, {data['n_classes']} labels, {data['labels_per_row']:.1f} of them a row"
        )

    return Words(
        nouns=nouns,
        rows="rows",
        corpus=corpus,
        kept_as=None,
        unlike_evidence="gives rows several labels",
        counted=counted,
        told=("n_classes", "class_counts", "labels_per_row"),
        classes="labels",
        baselines=("majority", linear),
        linear=linear,
        own_names={"majority": COMMONEST_LABELS},
        probe="A linear classifier of every label",
        conflicts=conflicts,
        main=Count(label="Examples", section="data", key="n_examples"),
        main_notes=(
            Note(section="data", key="n_classes", one="{:,} label", many="{:,} labels"),
            Note(section="size", key="n_per_class_min", one="rarest {:,}", many="rarest {:,}"),
        ),
        counts=(
            Count(label="Examples", section="data", key="n_examples"),
            Count(label="Labels", section="data", key="n_classes"),
            Count(label="Without a label", section="data", key="n_without_label"),
            Count(label="Rarest label", section="size", key="n_per_class_min"),
            Count(label="Duplicates", section="size", key="n_duplicates"),
        ),
        keys={"n_classes": "labels", "n_per_class_min": "examples of the rarest label"},
        class_table=("Labels", "Label", "Examples"),
    )


TEXTS_WITH_LABELS = _of_labels("texts", corpus="CORPUS.txt", linear="tfidf_linear")
PAIRS_WITH_LABELS = _of_labels("texts", corpus="CORPUS.txt", linear="tfidf_linear")
IMAGES_WITH_LABELS = _of_labels("images", corpus="IMAGES", linear="pixel_linear")


def _of_numbers(nouns: str, *, corpus: str, linear: str) -> Words:
    """Words for rows that have a number each."""

    def conflicts(n: int) -> str:
        return f"check labels: {n:,} {nouns} occur with different numbers"

    def counted(data: Mapping[str, Any]) -> str:
        numbers = data["numbers"]
        return (
            f"{data['n_examples']:,} examples, numbers from {numbers['lowest']:g} to {numbers['highest']:g}, "
            f"{numbers['mean']:g} on average"
        )

    return Words(
        nouns=nouns,
        rows="rows",
        corpus=corpus,
        kept_as=None,
        unlike_evidence="predicts a number",
        counted=counted,
        told=("numbers",),
        classes=None,
        baselines=("majority", linear),
        linear=linear,
        own_names={"majority": THE_MEAN},
        probe="Ridge regression",
        conflicts=conflicts,
        main=Count(label="Examples", section="data", key="n_examples"),
        main_notes=(),
        counts=(
            Count(label="Examples", section="data", key="n_examples"),
            Count(label="Duplicates", section="size", key="n_duplicates"),
        ),
        class_table=("Numbers", "Number", "Examples"),
    )


TEXTS_WITH_NUMBERS = _of_numbers("texts", corpus="CORPUS.txt", linear="tfidf_ridge")
PAIRS_WITH_NUMBERS = _of_numbers("texts", corpus="CORPUS.txt", linear="tfidf_ridge")
IMAGES_WITH_NUMBERS = _of_numbers("images", corpus="IMAGES", linear="pixel_ridge")


def _counted_entities(data: Mapping[str, Any]) -> str:
    types = "1 type" if data["n_classes"] == 1 else f"{data['n_classes']} types"
    return f"{data['n_examples']:,} sentences, {data['n_entities']:,} entities of {types}"


def _conflicting_tags(n: int) -> str:
    many = "sentence is" if n == 1 else "sentences are"
    return f"check tags: {n:,} {many} tagged in more than one way"


SENTENCES = Words(
    nouns="sentences",
    rows="sentences",
    corpus="CORPUS.txt",
    kept_as=None,
    unlike_evidence="tags words",
    counted=_counted_entities,
    told=("n_classes", "class_counts", "n_entities"),
    classes="entities",
    baselines=("majority", "entity_lookup", "token_linear"),
    linear="token_linear",
    own_names={"majority": EVERY_WORD_OUTSIDE},
    probe="A linear classifier of words",
    conflicts=_conflicting_tags,
    main=Count(label="Entities", section="data", key="n_entities"),
    main_notes=(
        Note(section="data", key="n_classes", one="{:,} type", many="{:,} types"),
        Note(section="data", key="n_examples", one="in {:,} sentence", many="in {:,} sentences"),
    ),
    counts=(
        Count(label="Sentences", section="data", key="n_examples"),
        Count(label="Words", section="data", key="n_words"),
        Count(label="Entities", section="data", key="n_entities"),
        Count(label="Types", section="data", key="n_classes"),
        Count(label="Rarest type", section="size", key="n_per_class_min"),
        Count(label="Duplicates", section="size", key="n_duplicates"),
    ),
    keys={
        "n_examples": "sentences",
        "n_effective": "sentences without duplicates",
        "n_classes": "types of entities",
        "n_per_class_min": "entities of the rarest type",
    },
    class_table=("Types of entities", "Type", "Entities"),
)

Key = tuple[str, str, bool]
"""What is read, what is predicted, as ``advice.json`` names them, and whether two texts are read together."""


def key_of(*, kind: Any, task: Any, columns: Any) -> Key:
    """The key in `WORDS` and in `advisor.kinds.table.KINDS`, from the values that ``advice.json`` and the data hold."""
    second = columns.get("text_pair") if isinstance(columns, Mapping) else None
    return str(kind), str(task), second is not None


WORDS: Mapping[Key, Words] = {
    ("text", "sequence_classification", False): TEXTS,
    ("text", "sequence_classification", True): PAIRS,
    ("text", "token_classification", False): SENTENCES,
    ("image", "image_classification", False): IMAGES,
    ("text", "regression", False): TEXTS_WITH_NUMBERS,
    ("text", "regression", True): PAIRS_WITH_NUMBERS,
    ("image", "regression", False): IMAGES_WITH_NUMBERS,
    ("text", "multi_label_classification", False): TEXTS_WITH_LABELS,
    ("text", "multi_label_classification", True): PAIRS_WITH_LABELS,
    ("image", "multi_label_classification", False): IMAGES_WITH_LABELS,
}


def words_of(advice: Mapping[str, Any]) -> Words:
    """The words for the data of a stored ``advice.json``; those for texts where it does not say what the data is."""
    return WORDS.get(_key_in(advice), TEXTS)


def is_known(advice: Mapping[str, Any]) -> bool:
    """Whether a stored ``advice.json`` says what its data is."""
    return _key_in(advice) in WORDS


def _key_in(advice: Mapping[str, Any]) -> Key:
    data = advice.get("data")
    data = data if isinstance(data, Mapping) else {}
    return key_of(kind=data.get("kind"), task=data.get("task"), columns=data.get("columns"))
