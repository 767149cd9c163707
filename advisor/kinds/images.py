"""Kinds of data that are images: with a class, several labels or a number each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.images import is_grey
from advisor.data.new_rows import read_images
from advisor.data.options import DEFAULT_SAMPLE
from advisor.kinds import words
from advisor.kinds.base import NewRows, sampled
from advisor.kinds.classes import OneClass
from advisor.kinds.labels import SeveralLabels, with_labels
from advisor.kinds.numbers import OneNumber, with_numbers
from advisor.measures.baselines import pixel_baseline
from advisor.measures.features import BlockFeatures, PictureFeatures
from advisor.measures.numbers import pixel_ridge_baseline
from advisor.measures.several import pixel_labels_baseline
from advisor.predicted_rows import LabelPredictions, NumberPredictions, Predictions
from advisor.similarity.image_similarity import measure_image_similarity
from tuner.inputs.images import ImageInputs, Pixels
from tuner.model.loading import DEFAULT_IMAGE_MODEL

if TYPE_CHECKING:
    from advisor.data.target import TargetData
    from advisor.measures.baselines import Baseline
    from advisor.similarity.image_profile import ImageProfile
    from advisor.similarity.profile import SourceProfile
    from advisor.similarity.similarity import SimilarityProfile
    from tuner.export import TransferModel
    from tuner.inputs.known import InputClass
    from tuner.inputs.pictures import Pictures
    from tuner.model.backbone import Backbone
    from tuner.records import Progress
    from tuner.tasks.labels import LabelsTruth
    from tuner.tasks.numbers import NumberTruth

LOOKED_AT = 100
"""Images whose size and colour stand for all."""
MOSTLY = 0.9


class ImageInput:
    """The part of a kind that is about the input: rows that an image model reads (`advisor.kinds.base.Kind`)."""

    input: InputClass = ImageInputs
    default_model: str | None = DEFAULT_IMAGE_MODEL

    def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]:
        """The images at these positions."""
        return target.pictures_at(positions)

    def labels_at(self, target: TargetData, positions: np.ndarray) -> np.ndarray:
        """What probes learn of the images at these positions: the numbers of their classes."""
        labels: np.ndarray = target.labels[positions]
        return labels

    def embed(
        self,
        target: TargetData,
        *,
        backbone: Backbone,
        sample: int = DEFAULT_SAMPLE,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> PictureFeatures:
        """Run a sample of the training images through the model once; those that cannot be read are left out."""
        rows = sampled(target, sample=sample, seed=seed)
        pictures = target.pictures_at(rows)
        encoded = backbone.encode(pictures, progress=progress)
        assert isinstance(encoded, Pixels)
        warnings = _adapted(pictures, encoded)
        if pictures.unreadable:
            kept = pictures.readable()
            note = pictures.note("sampled images")
            if len(pictures) < target.n_examples:  # images are opened where they are used, not counted one by one
                note += "; the number of examples counts such images among those that were not sampled"
            encoded, rows, warnings = encoded.take(kept), rows[kept], (note, *warnings)
        return PictureFeatures(
            rows=rows,
            pixels=encoded,
            features=backbone.block_features(encoded, progress=progress),
            labels=self.labels_at(target, rows),
            groups=target.kept_together(rows),
            lengths=encoded.lengths,
            warnings=warnings,
        )

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
        """Compare the sampled images with the model's source; examples are given by their positions in the data."""
        measured = measure_image_similarity(
            target.pictures_at(features.rows), backbone=backbone, profile=profile, how_to_measure=how_to_measure,
            seed=seed, progress=progress,
        )  # fmt: skip
        rows = {place: tuple(int(row) for row in features.rows[list(at)]) for place, at in measured.examples.items()}
        return replace(measured, examples=rows)


class ImageRows(ImageInput):
    """Images that are labelled as a whole."""

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> Predictions:
        """Predict new images, shown by their names: a folder's images have no order that all know."""
        pictures, named, warnings = read_images(
            new.data, image=new.image, images_root=new.images_root, header=new.header
        )
        told, probabilities, unlike = model.tell(pictures, progress=progress)
        pictures.readable(why="where most are damaged, something is wrong with all of them")
        unreadable = dict(pictures.unreadable)
        return Predictions(
            rows=tuple(named),
            labels=tuple(None if row in unreadable else label for row, label in enumerate(told)),
            probabilities=probabilities,
            class_names=model.class_names,
            unlike=unlike,
            unreadable=unreadable,
            shown_as="image",
            warnings=warnings,
        )


class Images(ImageRows, OneClass):
    """Images with a class each."""

    words = words.IMAGES

    def linear_baseline(self, features: BlockFeatures, *, folds: np.ndarray, metric: str, seed: int) -> Baseline | None:
        """Score logistic regression on the pixels."""
        assert isinstance(features, PictureFeatures)
        return pixel_baseline(
            features.pixels.values, features.labels, folds=folds, groups=features.groups, metric=metric, seed=seed
        )


class ImagesWithLabels(SeveralLabels, ImageRows):
    """Images with any number of labels each."""

    words = words.IMAGES_WITH_LABELS

    def linear_baseline(
        self, features: BlockFeatures, truth: LabelsTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score logistic regression of every label on the pixels."""
        assert isinstance(features, PictureFeatures)
        return pixel_labels_baseline(features.pixels.values, truth, folds=folds, seed=seed)

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> LabelPredictions:
        """Predict the labels of new images, and the probability of each label."""
        return with_labels(super().predict(model, new, progress=progress))


class ImagesWithNumbers(OneNumber, ImageRows):
    """Images with a number each."""

    words = words.IMAGES_WITH_NUMBERS

    def linear_baseline(
        self, features: BlockFeatures, truth: NumberTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score ridge regression on the pixels."""
        assert isinstance(features, PictureFeatures)
        return pixel_ridge_baseline(features.pixels.values, truth, folds=folds, seed=seed)

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> NumberPredictions:
        """Predict the numbers of new images."""
        return with_numbers(super().predict(model, new, progress=progress))


def _adapted(pictures: Pictures, encoded: Pixels) -> tuple[str, ...]:
    """What was done to small or grey images, so that the model can read them."""
    readable = [row for row in range(min(len(pictures), LOOKED_AT)) if row not in pictures.unreadable]
    shown = [pictures[row] for row in readable]
    if not shown:
        return ()
    said = []
    side, read = int(np.median([min(picture.size) for picture in shown])), min(encoded.values.shape[-2:])
    if side < read:
        said.append(
            f"the images' shorter side is {side} pixels (median); they are enlarged to the {read} the model reads"
        )
    grey = float(np.mean([is_grey(picture) for picture in shown]))
    if grey > MOSTLY:
        said.append("the images are grey; the model reads them as three equal colour channels")
    return tuple(said)
