"""What a kind of data is asked for: an input (what is read) with a task (what is predicted)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from advisor.measures.features import sample_rows
from tuner.errors import ModelError

if TYPE_CHECKING:
    from advisor.data.target import TargetData
    from advisor.kinds.words import Words
    from advisor.measures.baselines import Baseline
    from advisor.measures.features import BlockFeatures
    from advisor.measures.probe import CurvePoint
    from advisor.measures.size import SizeProfile
    from advisor.predicted_rows import Predicted
    from advisor.similarity.image_profile import ImageProfile
    from advisor.similarity.profile import SourceProfile
    from advisor.similarity.similarity import SimilarityProfile
    from tuner.export import TransferModel
    from tuner.inputs.known import InputClass
    from tuner.model.backbone import Backbone
    from tuner.records import Progress
    from tuner.search.data import LabelledRows
    from tuner.tasks.base import Task
    from tuner.tasks.known import TaskClass


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """New rows to predict, as they were given: the data, the options that say where in it the rows are, and the columns
    that the model was tuned with, as far as they are known."""

    data: Any
    text: str | None = None
    text_pair: str | None = None
    image: str | None = None
    images_root: str | Path | None = None
    header: bool | None = None
    trained_on: Mapping[str, Any]


class Kind(Protocol):
    """One kind of data: how it is read by a model, measured, trained on, predicted, and spoken of.

    Whatever depends on the kind of data is a method here, so that no other module asks what kind it has. A new kind is
    one more class, in the module of its input, and one more row in `advisor.kinds.table.KINDS` and
    `advisor.kinds.words.WORDS`.
    """

    words: Words
    input: InputClass
    """How a model reads such rows."""
    predicts: TaskClass
    """What a model predicts of them."""

    def task(self, target: TargetData) -> Task:
        """What is predicted, with the names in the data."""

    # --- what is read

    default_model: str | None
    """The model where none is named; None for the one that `tuner.model.assemble.load_backbone` takes by itself."""

    def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]:
        """The rows at these positions, in the form in which a model is fed them."""

    def embed(
        self, target: TargetData, *, backbone: Backbone, sample: int, seed: int = 0, progress: Progress | None = None
    ) -> BlockFeatures:
        """Run a sample of the training rows through the model once; validation and test rows stay unseen.

        Args:
            target: the labelled data.
            backbone: the model.
            sample: how many rows at most, drawn as `sampled` draws them.
            seed: of the draw.
            progress: told how many rows are done; None for silence.

        Returns:
            The sampled rows' positions, labels and groups, with their pooled states after every block.
        """

    def compare(
        self,
        target: TargetData,
        features: BlockFeatures,
        *,
        backbone: Backbone,
        profile: SourceProfile | ImageProfile | None,
        how_to_measure: str,
        seed: int,
        progress: Progress | None,
    ) -> SimilarityProfile:
        """Measure how similar the sampled rows are to what the model was pretrained on.

        Args:
            target: the labelled data.
            features: of the sampled rows, as `embed` gives them.
            backbone: the model.
            profile: the statistics of the model's source; None where there are none, which leaves the similarity
                unmeasured.
            how_to_measure: the command to print where there is no profile.
            seed: of everything that is drawn.
            progress: told how far it is; None for silence.
        """

    # --- what is predicted

    def counts(self, target: TargetData) -> dict[str, Any]:
        """What ``advice.json`` says of the labels: classes with their counts, and what else there is to count."""

    def label_of(self, target: TargetData, row: int) -> str:
        """What a row is labelled with, as it is shown beside it."""

    def size(self, target: TargetData, *, learning_curve: tuple[CurvePoint, ...], curve_features: str) -> SizeProfile:
        """The size of what can be learned from: all rows, but for a test split that the user gave as one."""

    def baselines(self, features: BlockFeatures, *, task: Task, metric: str, seed: int) -> dict[str, Baseline | None]:
        """Score what needs no pretrained model, on the rows and folds of the probes.

        Args:
            features: of the sampled rows, as `embed` gives them.
            task: what is predicted.
            metric: what the baselines are scored by.
            seed: of the folds and of the intervals.

        Returns:
            A baseline for every name in ``words.baselines``; None for one that could not be fitted.
        """

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warnings about labels, tokens and copies, beside those of reading and embedding.

        Args:
            target: the labelled data.
            features: of the sampled rows, as `embed` gives them.
            backbone: the model.
            metric: what models are scored by.
        """

    def labelled_rows(self, target: TargetData, positions: np.ndarray) -> LabelledRows:
        """The rows at these positions with their labels, as the search takes them."""

    # --- new rows

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> Predicted:
        """Predict new rows with a saved model."""


def check_model(kind: Kind, backbone: Backbone, *, name: str) -> None:
    """Raise `ModelError` for a model that cannot read rows of a kind; `name` is what the data is called."""
    if not isinstance(backbone.inputs, kind.input):
        raise ModelError(
            f"{backbone.id} reads {backbone.inputs.nouns}, but {name} holds {kind.input.nouns}",
            why="features of the data come from the model",
            fix=f"pass a model of {kind.input.nouns}, or omit --model for the built-in one",
        )


def sampled(target: TargetData, *, sample: int, seed: int) -> np.ndarray:
    """Draw a random sample of the training rows, stratified by what was spread over the splits.

    Args:
        target: the labelled data.
        sample: how many rows at most.
        seed: of the draw.

    Returns:
        Their positions in the data.
    """
    rows: np.ndarray = target.train[sample_rows(target.labels[target.train], size=sample, seed=seed)]
    return rows
