"""What stands in `advice.json` beside the advice: model, data, baselines, warnings, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from typing import Any

from advisor.data.target import TargetData
from advisor.kinds.base import Kind
from advisor.kinds.words import Words
from advisor.measures.features import BlockFeatures
from advisor.measures.probe import ProbeProfile
from advisor.measures.size import SizeProfile
from advisor.similarity.similarity import SimilarityProfile
from tuner.model.backbone import Backbone

TRUNCATION_WARNING = 0.10
VERSIONED = ("torch", "transformers", "datasets", "optuna", "scikit-learn", "numpy", "pandas")


def model_section(backbone: Backbone, *, max_length: int | None) -> dict[str, Any]:
    """The model; `max_length` is what rows are cut to, None where they have no tokens."""
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
        "max_length": max_length,
        "compute_dtype": str(backbone.compute_dtype).removeprefix("torch."),
    }


def data_section(target: TargetData, features: BlockFeatures, *, counts: dict[str, Any]) -> dict[str, Any]:
    """The data, with the `counts` of its labels (`advisor.kinds.base.Kind.counts`)."""
    return {
        "name": target.name,
        "kind": target.kind,
        "task": target.task,
        "n_examples": target.n_examples,
        **counts,
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


def best_probe_of(probes: ProbeProfile) -> dict[str, Any]:
    """The best probe as it stands among the baselines: its block, features and scores."""
    best = probes.best
    return {
        "block": best.block,
        "features": best.features,
        "score": best.score,
        "interval": best.interval,
        "metrics": best.metrics,
    }


def warnings_of(
    target: TargetData,
    backbone: Backbone,
    features: BlockFeatures,
    similarity: SimilarityProfile,
    *,
    kind: Kind,
    metric: str,
) -> tuple[str, ...]:
    """Collect what is said of the data and the model beside the advice, in the order in which it was noticed.

    Args:
        target: the labelled data, with the warnings of reading it.
        backbone: the model, with the warnings of loading it.
        features: of the sampled rows, with the warnings of embedding them, and the share of them that was cut.
        similarity: of the data to the model's source, with its warnings.
        kind: the kind of data, which knows what else there is to warn of.
        metric: what models are scored by.
    """
    warnings = [*target.warnings, *backbone.warnings, *features.warnings]
    warnings += kind.cautions(target, features, backbone=backbone, metric=metric)
    if features.truncated > TRUNCATION_WARNING:
        warnings.append(
            f"{features.truncated:.0%} of the {kind.words.nouns} are longer than {backbone.max_length} tokens and "
            "were cut; --max-length raises the limit"
        )
    return (*warnings, *similarity.warnings)


def next_steps_of(
    size: SizeProfile,
    similarity: SimilarityProfile,
    *,
    words: Words,
    n_conflicting: int,
    command: str,
    model: str | None,
) -> tuple[str, ...]:
    """Suggest what to do next, one step a line.

    Args:
        size: of the data.
        similarity: of the data to the model's source.
        words: for the kind of data.
        n_conflicting: rows that are labelled in more than one way.
        command: tunes as advised.
        model: where the model lies, for a command; None for one in memory.
    """
    steps = [f"tune the freeze depth: {command}"]
    if similarity.verdict == "unmeasured":
        build = f"advisor source build {words.corpus} --model {shlex.quote(model)}" if model is not None else ""
        steps.append(f"measure similarity: {build or 'recommend(..., source=CORPUS)'}")
    if "still rising" in size.why:
        steps.append("label more data: the learning curve is still rising")
    if n_conflicting:
        steps.append(words.conflicts(n_conflicting))
    return tuple(steps)


def versions_of() -> dict[str, str]:
    """The versions of Python, of this package and of those in `VERSIONED`, by their names."""
    versions = {"python": platform.python_version(), "transfer-advisor": importlib.metadata.version("transfer-advisor")}
    return versions | {package: importlib.metadata.version(package) for package in VERSIONED}
