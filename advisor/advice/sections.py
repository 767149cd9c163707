"""What stands in `advice.json` beside the advice: model, data, baselines, warnings, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from advisor.data.cautions import imbalance_note, unknown_note
from advisor.data.tagged import count_entities
from advisor.data.target import TargetData
from advisor.data.token_copies import token_copies_note
from advisor.measures.baselines import (
    Baseline,
    lookup_baseline,
    majority_baseline,
    outside_baseline,
    pixel_baseline,
    tfidf_baseline,
    token_baseline,
)
from advisor.measures.features import BlockFeatures
from advisor.measures.probe import ProbeProfile, probe_folds
from advisor.measures.size import SizeProfile
from advisor.similarity.similarity import SimilarityProfile
from tuner.model.backbone import Backbone
from tuner.tasks.tags import TagTruth

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Data: TypeAlias = str | Path | pd.DataFrame | datasets.Dataset | datasets.DatasetDict | tuple[Any, Any]
    Model: TypeAlias = str | Path | tuple[Any, Any] | None


TRUNCATION_WARNING = 0.10
VERSIONED = ("torch", "transformers", "datasets", "optuna", "scikit-learn", "numpy", "pandas")


def model_section(backbone: Backbone) -> dict[str, Any]:
    return {
        "id": backbone.id,
        "sha256": backbone.sha256,
        "revision": backbone.revision,
        "n_blocks": backbone.n_blocks,
        "blocks": [
            {"name": block.name, "parameters": sum(p.numel() for p in block.parameters())} for block in backbone.blocks
        ],
        "parameters": backbone.parameters,
        "pooling": backbone.pooling,
        "max_length": backbone.max_length if backbone.is_text else None,
        "compute_dtype": str(backbone.compute_dtype).removeprefix("torch."),
    }


def data_section(target: TargetData, features: BlockFeatures) -> dict[str, Any]:
    classes = _tags_section(target) if target.tagged else _classes_section(target)
    return {
        "name": target.name,
        "kind": target.kind,
        "task": target.task,
        "n_examples": target.n_examples,
        **classes,
        "columns": target.columns,
        "splits": {
            "train": len(target.train),
            "validation": len(target.validation),
            "test": len(target.test),
            "given": list(target.given_splits),
        },
        "sampled": len(features.rows),
        "truncated": features.truncated,
        "n_duplicates": target.n_duplicates,
        "n_conflicting": target.n_conflicting,
        "n_leaked": target.n_leaked,
        "n_dropped": target.n_dropped,
        "fingerprint": target.fingerprint,
    }


def _classes_section(target: TargetData) -> dict[str, Any]:
    counts = dict(zip(target.class_names, target.class_counts.tolist(), strict=True))
    return {"n_classes": len(target.class_names), "class_counts": counts}


def _tags_section(target: TargetData) -> dict[str, Any]:
    """Of tagged sentences the types of entities are the classes, and their entities are counted."""
    found = count_entities(target.tags_at(range(target.n_examples)))
    return {
        "n_classes": len(found.by_type),
        "class_counts": found.by_type,
        "n_entities": found.total,
        "n_words": int(sum(map(len, target.words))),
        "tags": target.class_names,
        "scheme": target.scheme,
    }


def measure_baselines(features: BlockFeatures, *, metric: str, seed: int) -> dict[str, Baseline | None]:
    """What needs no pretrained model, on the rows and folds of the probes, by its name in ``advice.json``."""
    folds, truth = probe_folds(features, seed=seed), features.truth(metric)
    if features.tagged is not None and isinstance(truth, TagTruth):
        words = features.tagged.words
        return {
            "majority": outside_baseline(truth),
            "entity_lookup": lookup_baseline(words, truth, folds=folds, seed=seed),
            "token_linear": token_baseline(words, truth, folds=folds, seed=seed),
        }
    labels, groups = features.labels, features.groups
    majority = majority_baseline(labels, groups=groups, metric=metric, seed=seed)
    if features.pixels is None:
        linear = tfidf_baseline(features.texts, labels, folds=folds, groups=groups, metric=metric, seed=seed)
        return {"majority": majority, "tfidf_linear": linear}
    pixels = features.pixels.values
    return {
        "majority": majority,
        "pixel_linear": pixel_baseline(pixels, labels, folds=folds, groups=groups, metric=metric, seed=seed),
    }


def best_probe_of(probes: ProbeProfile) -> dict[str, Any]:
    best = probes.best
    return {
        "block": best.block,
        "features": best.features,
        "score": best.score,
        "interval": best.interval,
        "metrics": best.metrics,
    }


def warnings_of(
    target: TargetData, backbone: Backbone, features: BlockFeatures, similarity: SimilarityProfile, *, metric: str
) -> tuple[str, ...]:
    warnings = [*target.warnings, *backbone.warnings, *features.warnings]
    warnings += imbalance_note({} if target.tagged else _classes_section(target)["class_counts"], metric=metric)
    warnings += unknown_note(features.unknown, model=backbone.id)
    warnings += token_copies_note(target, backbone)
    if features.truncated > TRUNCATION_WARNING:
        noun = "sentences" if target.tagged else "texts"
        warnings.append(
            f"{features.truncated:.0%} of the {noun} are longer than {backbone.max_length} tokens and were cut; "
            "--max-length raises the limit"
        )
    return (*warnings, *similarity.warnings)


def next_steps_of(
    size: SizeProfile, similarity: SimilarityProfile, target: TargetData, command: str, *, model: str | None
) -> tuple[str, ...]:
    steps = [f"tune the freeze depth: {command}"]
    if similarity.verdict == "unmeasured":
        corpus = "CORPUS.txt" if target.kind == "text" else "IMAGES"
        build = f"advisor source build {corpus} --model {shlex.quote(model)}" if model is not None else ""
        steps.append(f"measure similarity: {build or 'recommend(..., source=CORPUS)'}")
    if "still rising" in size.why:
        steps.append("label more data: the learning curve is still rising")
    if target.n_conflicting and target.tagged:
        many = "sentence is" if target.n_conflicting == 1 else "sentences are"
        steps.append(f"check tags: {target.n_conflicting:,} {many} tagged in more than one way")
    elif target.n_conflicting:
        steps.append(f"check labels: {target.n_conflicting:,} {target.kind}s carry more than one label")
    return tuple(steps)


def versions_of() -> dict[str, str]:
    versions = {"python": platform.python_version(), "transfer-advisor": importlib.metadata.version("transfer-advisor")}
    return versions | {package: importlib.metadata.version(package) for package in VERSIONED}
