"""Augmentation: which changes of the training rows fit a model and a task, and how many views are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import OptionError

if TYPE_CHECKING:
    from tuner.model.backbone import Backbone
    from tuner.tasks.base import Task

VIEW_POLICIES = ("flip", "randaugment", "trivialaugment", "token_dropout", "masking")
MIX_POLICIES = ("cutmix", "mixup")
"""Mirroring; RandAugment (Cubuk et al. 2020); TrivialAugment (Müller & Hutter 2021); CutMix (Yun et al. 2019); mixup
(Zhang et al. 2018), at the freeze boundary where blocks are frozen (manifold mixup, Verma et al. 2019), of texts never
before their embeddings; tokens left out (Iyyer et al. 2015) or masked as in BERT's pretraining (Devlin et al. 2019)."""
CACHED_VIEWS = 4
"""Views of a row of which the frozen blocks' outputs are kept, the row itself among them."""
MIRROR_LOSS = 0.02
"""Mirroring keeps the label plausible where a probe loses less than this on mirrored images."""


def check_policy(policy: str, *, backbone: Backbone, task: Task | None = None) -> None:
    """Raise `OptionError` for an augmentation that does not fit what a model is fed, its states, or the task."""
    why_not = misfit(policy, backbone=backbone, task=task)
    if why_not is not None:
        raise OptionError(
            f"--augment {policy} does not fit: {why_not[0]}", why=why_not[1], fix="omit --augment, or use another"
        )


def misfit(policy: str, *, backbone: Backbone, task: Task | None = None) -> tuple[str, str] | None:
    """Why an augmentation does not fit a model or a task, and why that matters; None where it fits."""
    why_not = backbone.inputs.misfit(policy, base=backbone)
    return task.misfit(policy) if why_not is None and task is not None else why_not


def usual_policy(backbone: Backbone, task: Task) -> str | None:
    """The augmentation that is tried where none is asked for; None where none fits."""
    able = (policy for policy in task.preferred(backbone.inputs.preferred))
    return next((policy for policy in able if misfit(policy, backbone=backbone, task=task) is None), None)
