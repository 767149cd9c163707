"""Every name that a user sees, in one place: strategies, situations and their rules, candidates, baselines, metrics.

The keys are those of the command line and of ``advice.json`` and ``tuning.json``; the values are what the terminal, the
report, the model card and the reasons say. What is not known here is shown by its key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

STRATEGIES: Mapping[str, str] = {
    "train_all": "train the whole network",
    "freeze_part": "freeze a part and train the rest",
    "head_only": "train only the classifier",
    "feature_based": "use the base as a fixed feature extractor",
}
STRATEGY_NUMBERS: Mapping[str, int | None] = {"train_all": 1, "freeze_part": 2, "head_only": 3, "feature_based": None}
"""By which the classic text calls them."""

SITUATIONS = {
    1: "large and dissimilar",
    2: "large and similar",
    3: "small and dissimilar",
    4: "small and similar",
}
CLASSIC_RULES = {
    1: "train the whole network on the new data",
    2: "any strategy works; freezing a part and training the rest is the efficient one",
    3: "freeze a part, with the depth chosen with care, and augment the data",
    4: "train only the classifier",
}
"""What the classic text says in each situation: a prior, not a finding."""

FEATURES: Mapping[str, str] = {
    "embeddings": "embeddings",
    "second_to_last": "second-to-last block",
    "last": "last block",
    "weighted_last_four": "last four blocks, weighted sum",
    "concat_last_four": "last four blocks, side by side",
    "weighted_all": "all blocks, weighted sum",
}
"""What of a frozen model is read (`tuner.tasks.heads.FEATURES`)."""

BASELINES: Mapping[str, str] = {
    "majority": "majority class",
    "tfidf_linear": "TF-IDF + logistic regression",
    "pixel_linear": "pixels + logistic regression",
    "entity_lookup": "entities looked up",
    "token_linear": "words and shapes + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
    "pixel_ridge": "pixels + ridge regression",
    "best_probe": "best probe",
}
EVERY_WORD_OUTSIDE = "every word O"
"""What the majority class is where words are tagged."""
THE_MEAN = "the mean"
"""What stands for the majority class where numbers are predicted."""
COMMONEST_LABELS = "commonest labels"
"""What the majority class is where rows have several labels."""

AUGMENTATIONS: Mapping[str, str] = {
    "flip": "mirroring",
    "randaugment": "RandAugment",
    "trivialaugment": "TrivialAugment",
    "cutmix": "CutMix",
    "mixup": "mixup",
    "token_dropout": "token dropout",
    "masking": "masking",
}
"""What training examples may be changed by (`tuner.training.augmentation`)."""

OPTIONS: Mapping[str, str] = {
    "fresh_top": "last block re-initialised",
    "random_head": "random head",
}
"""How the training of blocks may differ; without any, the head starts from a probe (LP-FT: Kumar et al. 2022) and every
block as it was pretrained. Lower rates for lower blocks and gradual unfreezing won on no set of
benchmarks/strategies.py and were removed."""

LOSSES: Mapping[str, str] = {"class_weights": "class-weighted loss"}
"""What else a candidate may be repeated with: under metrics that count all classes alike, rare classes weigh more in
the loss (`tuner.tasks.imbalance`). Other than `OPTIONS`, it is tried on linear heads too."""

VARIANTS: Mapping[str, str] = {
    **AUGMENTATIONS,
    **OPTIONS,
    **LOSSES,
    "decision_offsets": "decision offset by class",
}
"""Everything that a candidate may be repeated with."""

METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "entity_f1": "entity F1",
    "r2": "R²",
    "spearman": "Spearman correlation",
    "mae": "mean absolute error",
    "micro_f1": "micro F1",
    "subset_accuracy": "subset accuracy",
}
IN_UNITS = ("mae",)
"""Metrics in the units of what is predicted, which are no shares of anything."""

HUB_METRICS: Mapping[str, str] = {
    "macro_f1": "f1",
    "entity_f1": "f1",
    "micro_f1": "f1",
    "subset_accuracy": "accuracy",
    "r2": "r_squared",
    "spearman": "spearmanr",
}
"""What hubs call those metrics that they call otherwise."""


def metric_name(metric: str) -> str:
    """The name of a metric in words.

    >>> metric_name("macro_f1"), metric_name("top_5")
    ('macro F1', 'top 5')
    """
    return METRICS.get(metric, metric.replace("_", " "))


def baseline_name(baseline: str) -> str:
    """The name of a baseline, which needs no pretrained model, in words.

    >>> baseline_name("tfidf_linear")
    'TF-IDF + logistic regression'
    """
    return BASELINES.get(baseline, baseline.replace("_", " "))


def feature_name(features: str) -> str:
    """The name of features that are read of a frozen model, in words.

    >>> feature_name("block_3"), feature_name("concat_last_four")
    ('block 3', 'last four blocks, side by side')
    """
    if re.fullmatch(r"block_\d+", features):
        return f"block {features[6:]}"
    return FEATURES.get(features, features.replace("_", " "))


def feature_words(features: str) -> str:
    """The short name of features, as candidates and reasons use it: their key as words.

    >>> feature_words("concat_last_four")
    'concat last four'
    """
    return features.replace("_", " ")


def strategy_sentence(
    strategy: str, *, start: str = "pretrained", frozen_blocks: int | None, n_blocks: int | None, features: str | None
) -> str:
    """Say what to do, as an imperative without its full stop.

    Args:
        strategy: a key of `STRATEGIES`.
        start: ``pretrained`` or ``scratch``.
        frozen_blocks: how many blocks are frozen; None where that is not known, or means nothing.
        n_blocks: of the model; None where it is not known.
        features: what is read where nothing of the base is trained; None where that is not known.

    Returns:
        the sentence; empty where the strategy is not known.

    >>> strategy_sentence("freeze_part", frozen_blocks=5, n_blocks=7, features=None)
    'Freeze the first 5 of 7 blocks and train the rest'
    """
    whole = "Train the whole network, starting from the pretrained weights"
    head = "Freeze the whole network and train only a classifier on top"
    if start == "scratch":
        return "Train the whole network from random weights, as a control"
    if strategy == "feature_based":
        read = {
            "embeddings": "its embeddings",
            "weighted_last_four": "a weighted sum of its last four blocks",
            "concat_last_four": "its last four blocks, side by side",
            "weighted_all": "a weighted sum of all its blocks",
        }
        what = read.get(features, f"its {feature_name(features)}") if features else "its features"
        return f"Keep the network fixed and train a classifier on {what}"
    if strategy == "freeze_part" and frozen_blocks is not None and n_blocks:
        if 0 < frozen_blocks < n_blocks:
            return f"Freeze the first {frozen_blocks} of {n_blocks} blocks and train the rest"
        return head if frozen_blocks else whole
    plain = {"train_all": whole, "head_only": head, "freeze_part": "Freeze a part of the network and train the rest"}
    return plain.get(strategy, "")


def candidate_name(
    strategy: str | None,
    *,
    n_blocks: int | None,
    frozen_blocks: int | None,
    start: str | None = "pretrained",
    features: str | None = None,
    augmentation: str | None = None,
    head: str | None = "own",
    option: str | None = None,
    top: str | None = "linear",
) -> str:
    """What is trained, in a few words; the arguments are the fields of `tuner.search.space.Candidate`.

    Args:
        strategy: a key of `STRATEGIES`.
        n_blocks: of the model; None where it is not known, which reports of damaged runs are made without.
        frozen_blocks: how many of them are frozen.
        start: ``pretrained`` or ``scratch``.
        features: what is read where nothing of the base is trained.
        augmentation: a key of `AUGMENTATIONS`.
        head: ``own`` or ``native``.
        option: a key of `OPTIONS` or `LOSSES`.
        top: ``linear`` or ``bilstm``.

    Returns:
        The name; empty where too little is known for one.

    >>> candidate_name("freeze_part", n_blocks=7, frozen_blocks=5, augmentation="mixup")
    '5 of 7 blocks frozen, mixup'
    >>> candidate_name("feature_based", n_blocks=7, frozen_blocks=None, features="concat_last_four", top="bilstm")
    'feature-based, concat last four, BiLSTM'
    """
    if start == "scratch":
        name = "trained from scratch (control)"
    elif strategy == "feature_based":
        name = f"feature-based, {feature_words(features)}" if features else "feature-based"
    elif strategy == "head_only" or (frozen_blocks is not None and frozen_blocks == n_blocks):
        name = "head only"
    elif strategy == "train_all" or frozen_blocks == 0:
        name = "everything trained"
    elif frozen_blocks is not None:
        name = f"{frozen_blocks}{'' if n_blocks is None else f' of {n_blocks}'} blocks frozen"
    else:
        return ""
    parts = [name, "BiLSTM" if top == "bilstm" else ""]
    parts += [VARIANTS.get(variant, variant) for variant in (option, augmentation) if variant]
    parts.append("native head" if head == "native" else "")
    return ", ".join(part for part in parts if part)
