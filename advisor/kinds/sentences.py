"""The kind of data that is sentences whose words are tagged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.data.cautions import share_unknown, unknown_note
from advisor.data.options import DEFAULT_SAMPLE
from advisor.data.sentences import read_sentences
from advisor.data.splits import sentence_units
from advisor.data.tagged import count_entities
from advisor.data.tagged_target import refuse_options
from advisor.kinds import words
from advisor.kinds.base import NewRows, sampled
from advisor.kinds.texts import TextInput
from advisor.measures.baselines import lookup_baseline, outside_baseline, token_baseline
from advisor.measures.features import BlockFeatures
from advisor.measures.size import ENTITIES, measure_size
from advisor.measures.words import SentenceFeatures, embed_words, unseen_note
from advisor.predicted_rows import TaggedPredictions
from tuner.inputs.pairs import in_words
from tuner.inputs.sentences import Sentences as EncodedSentences
from tuner.search.data import LabelledRows
from tuner.tasks.tags import Tags, TagTruth

if TYPE_CHECKING:
    from advisor.data.target import TargetData
    from advisor.measures.baselines import Baseline
    from advisor.measures.probe import CurvePoint
    from advisor.measures.size import SizeProfile
    from tuner.export import TransferModel
    from tuner.model.backbone import Backbone
    from tuner.records import Progress
    from tuner.tasks.base import Task
    from tuner.tasks.known import TaskClass


class Sentences(TextInput):
    """Sentences as lists of words, with a tag for every word (`advisor.kinds.base.Kind`)."""

    words = words.SENTENCES
    predicts: TaskClass = Tags

    def task(self, target: TargetData) -> Task:
        """The task of predicting a tag for every word, with the names of the tags."""
        return Tags(names=target.class_names)

    def rows_at(self, target: TargetData, positions: Sequence[int] | np.ndarray) -> Sequence[Any]:
        """The words of the sentences at these positions."""
        return [target.words[int(row)] for row in positions]

    def embed(
        self,
        target: TargetData,
        *,
        backbone: Backbone,
        sample: int = DEFAULT_SAMPLE,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> SentenceFeatures:
        """Run a sample of the training sentences through the model once, for features of sentences and of words."""
        rows = sampled(target, sample=sample, seed=seed)
        sentences = [target.words[int(row)] for row in rows]
        encoded = backbone.encode(sentences, progress=progress)
        assert isinstance(encoded, EncodedSentences)
        features, tagged = embed_words(
            encoded, words=sentences, tags=[target.tags[int(row)] for row in rows], names=target.class_names,
            scheme=target.scheme, backbone=backbone, progress=progress,
        )  # fmt: skip
        return SentenceFeatures(
            rows=rows,
            texts=tuple(map(in_words, target.texts_at(rows))),
            features=features,
            labels=target.labels[rows],
            groups=target.kept_together(rows, link=sentence_units),
            lengths=encoded.lengths,
            truncated=float(encoded.truncated.mean()),
            unknown=share_unknown(encoded.input_ids, backbone.tokenizer),
            warnings=unseen_note(tagged, longest=backbone.max_length),
            tagged=tagged,
        )

    def counts(self, target: TargetData) -> dict[str, Any]:
        """Count the entities of each type, which are the classes, all entities and all words."""
        found = count_entities(target.tags_at(range(target.n_examples)))
        return {
            "n_classes": len(found.by_type),
            "class_counts": found.by_type,
            "n_entities": found.total,
            "n_words": int(sum(map(len, target.words))),
            "tags": target.class_names,
            "scheme": target.scheme,
        }

    def label_of(self, target: TargetData, row: int) -> str:
        """The tags of a sentence, one after the other."""
        return " ".join(target.tags_at([row])[0])

    def size(self, target: TargetData, *, learning_curve: tuple[CurvePoint, ...], curve_features: str) -> SizeProfile:
        """Measure the size by entities in distinct sentences, and by those of the rarest type."""
        rows = target.learnable
        _, first = np.unique(target.text_ids[rows], return_index=True)
        by_type = dict.fromkeys(sorted({name[2:] for name in target.class_names[1:]}), 0)
        by_type |= count_entities(target.tags_at(rows[first])).by_type
        return measure_size(
            n_examples=len(rows),
            n_duplicates=len(rows) - len(first),
            n_per_class_min=min(by_type.values()),
            by_type=by_type,
            counting=ENTITIES,
            learning_curve=learning_curve,
            curve_features=curve_features,
        )

    def baselines(self, features: BlockFeatures, *, task: Task, metric: str, seed: int) -> dict[str, Baseline | None]:
        """Score predicting no entity at all, entities looked up, and a linear model of words."""
        assert isinstance(features, SentenceFeatures)
        folds, truth = features.folds(seed=seed), features.truth(task, metric=metric)
        assert isinstance(truth, TagTruth)
        sentences = features.tagged.words
        return {
            "majority": outside_baseline(truth),
            "entity_lookup": lookup_baseline(sentences, truth, folds=folds, seed=seed),
            "token_linear": token_baseline(sentences, truth, folds=folds, seed=seed),
        }

    def cautions(self, target: TargetData, features: BlockFeatures, *, backbone: Backbone, metric: str) -> list[str]:
        """Warn of tokens that the model does not know; entity F1 counts every entity, so rare types need no warning."""
        return unknown_note(features.unknown, model=backbone.id)

    def labelled_rows(self, target: TargetData, positions: np.ndarray) -> LabelledRows:
        """The words of the sentences at these positions with the numbers of their tags."""
        tags = [target.tags[int(row)] for row in positions]
        return LabelledRows(
            rows=self.rows_at(target, positions),
            labels=np.concatenate(tags),
            groups=target.kept_together(positions, link=sentence_units),
            n_words=np.array([len(row) for row in tags]),
        )

    def predict(self, model: TransferModel, new: NewRows, *, progress: Progress | None) -> TaggedPredictions:
        """Predict the tags of the words of new sentences, with the probability of each."""
        refuse_options(
            {
                "text-pair": new.text_pair,
                "image": new.image,
                "images-root": new.images_root,
                "no-header": new.header is False,
            }
        )
        sentences, warnings = read_sentences(new.data, text=new.text)
        encoded = model.encode(sentences, progress=progress)
        assert isinstance(encoded, EncodedSentences)
        probabilities, unlike = model.predict_encoded(encoded, progress=progress)
        ends = np.cumsum([len(row) for row in sentences])[:-1]
        if sentences:
            warnings = (*warnings, *encoded.notes("sentences"))
        most_probable = np.where(encoded.seen, probabilities.max(1), np.nan)
        return TaggedPredictions(
            tokens=tuple(map(tuple, sentences)),
            tags=tuple(map(tuple, model.task.told(model.task.decode(probabilities, seen=encoded.seen), sentences))),
            probabilities=tuple(np.split(most_probable, ends)),
            unlike=unlike,
            warnings=warnings,
        )
