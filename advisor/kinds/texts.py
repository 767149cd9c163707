"""Kinds of data that are texts or pairs of texts: with a class, several labels or a number each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advisor.data.cautions import share_unknown, unknown_note
from advisor.data.image_paths import refuse_root
from advisor.data.new_rows import notes_on_texts, read_new_texts
from advisor.data.options import DEFAULT_SAMPLE
from advisor.data.token_copies import token_copies_note
from advisor.kinds import words
from advisor.kinds.base import NewRows, sampled
from advisor.kinds.classes import OneClass
from advisor.kinds.labels import SeveralLabels, with_labels
from advisor.kinds.numbers import OneNumber, with_numbers
from advisor.measures.baselines import tfidf_baseline
from advisor.measures.features import BlockFeatures
from advisor.measures.numbers import tfidf_ridge_baseline
from advisor.measures.several import tfidf_labels_baseline
from advisor.predicted_rows import LabelPredictions, NumberPredictions, Predictions
from advisor.similarity.similarity import measure_similarity
from tuner.inputs.pairs import in_words
from tuner.inputs.texts import TextInputs
from tuner.inputs.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np

    from advisor.data.target import TargetData
    from advisor.measures.baselines import Baseline
    from advisor.similarity.image_profile import ImageProfile
    from advisor.similarity.profile import SourceProfile
    from advisor.similarity.similarity import SimilarityProfile
    from tuner.export import TransferModel
    from tuner.inputs.known import InputClass
    from tuner.model.backbone import Backbone
    from tuner.records import Progress
    from tuner.tasks.labels import LabelsTruth
    from tuner.tasks.numbers import NumberTruth


class TextInput:
    """The part of a kind that is about the input: rows that a text model reads (`advisor.kinds.base.Kind`)."""

    input: InputClass = TextInputs
    default_model: str | None = None

    def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]:
        """The texts at these positions."""
        return target.texts_at(positions)

    def labels_at(self, target: TargetData, positions: np.ndarray) -> np.ndarray:
        """What probes learn of the rows at these positions: the numbers of their classes."""
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
    ) -> BlockFeatures:
        """Run a sample of the training texts through the model once."""
        rows = sampled(target, sample=sample, seed=seed)
        texts = target.texts_at(rows)
        encoded = backbone.encode(texts, progress=progress)
        assert isinstance(encoded, Tokens)
        return BlockFeatures(
            rows=rows,
            texts=tuple(map(in_words, texts)),
            features=backbone.block_features(encoded, progress=progress),
            labels=self.labels_at(target, rows),
            groups=target.kept_together(rows),
            lengths=encoded.lengths,
            truncated=float(encoded.truncated.mean()),
            unknown=share_unknown(encoded.input_ids, backbone.tokenizer),
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
        """Compare the sampled texts with the model's source by their features, lengths and letters."""
        return measure_similarity(
            features.features, lengths=features.lengths, texts=features.texts, profile=profile,
            how_to_measure=how_to_measure, seed=seed,
        )  # fmt: skip


class TextRows(TextInput):
    """Texts that are labelled as a whole."""

    def notes_on_tokens(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone) -> list[str]:
        """Warn of tokens that the model does not know, and of copies that only the model sees."""
        return [*unknown_note(features.unknown, model=backbone.id), *token_copies_note(target, backbone)]

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> Predictions:
        """Predict new texts, or pairs where the model was tuned on such."""
        refuse_root(new.images_root)
        text, pair = new.text, new.text_pair or new.trained_on.get("text_pair")
        if pair is not None and text is None:
            text = new.trained_on.get("text")
        known = [name for name in new.trained_on.values() if isinstance(name, str)]
        texts, _, warnings = read_new_texts(new.data, text=text, text_pair=pair, header=new.header, names=known)
        told, probabilities, unlike = model.tell(texts, progress=progress)
        return Predictions(
            rows=tuple(map(in_words, texts)),
            labels=tuple(told),
            probabilities=probabilities,
            class_names=model.class_names,
            unlike=unlike,
            warnings=(*warnings, *notes_on_texts(texts)),
        )


class Texts(TextRows, OneClass):
    """Texts with a class each."""

    words = words.TEXTS

    def linear_baseline(self, features: BlockFeatures, *, folds: np.ndarray, metric: str, seed: int) -> Baseline | None:
        """Score logistic regression on the words of the texts."""
        return tfidf_baseline(
            features.texts, features.labels, folds=folds, groups=features.groups, metric=metric, seed=seed
        )

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warn of rare classes, tokens that the model does not know, and copies that only the model sees."""
        return [
            *super().cautions(target, features, backbone=backbone, metric=metric),
            *self.notes_on_tokens(target, features, backbone=backbone),
        ]


class Pairs(Texts):
    """Pairs of texts with a class each: a text and the mark between its two halves (`tuner.inputs.pairs`)."""

    words = words.PAIRS


class TextsWithLabels(SeveralLabels, TextRows):
    """Texts with any number of labels each."""

    words = words.TEXTS_WITH_LABELS

    def linear_baseline(
        self, features: BlockFeatures, truth: LabelsTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score logistic regression of every label on the words of the texts."""
        return tfidf_labels_baseline(features.texts, truth, folds=folds, seed=seed)

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warn of tokens that the model does not know, and of copies that only the model sees."""
        return self.notes_on_tokens(target, features, backbone=backbone)

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> LabelPredictions:
        """Predict the labels of new texts, and the probability of each label."""
        return with_labels(super().predict(model, new, progress=progress))


class PairsWithLabels(TextsWithLabels):
    """Pairs of texts with any number of labels each."""

    words = words.PAIRS_WITH_LABELS


class TextsWithNumbers(OneNumber, TextRows):
    """Texts with a number each."""

    words = words.TEXTS_WITH_NUMBERS

    def linear_baseline(
        self, features: BlockFeatures, truth: NumberTruth, *, folds: np.ndarray, seed: int
    ) -> Baseline | None:
        """Score ridge regression on the words of the texts."""
        return tfidf_ridge_baseline(features.texts, truth, folds=folds, seed=seed)

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warn of tokens that the model does not know, and of copies that only the model sees."""
        return self.notes_on_tokens(target, features, backbone=backbone)

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> NumberPredictions:
        """Predict the numbers of new texts."""
        return with_numbers(super().predict(model, new, progress=progress))


class PairsWithNumbers(TextsWithNumbers):
    """Pairs of texts with a number each."""

    words = words.PAIRS_WITH_NUMBERS
