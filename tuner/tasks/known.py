"""The tasks there are, which one a saved model has, and which metrics go with which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tuner.errors import OptionError
from tuner.tasks import metrics
from tuner.tasks.classes import Classes
from tuner.tasks.labels import Labels
from tuner.tasks.numbers import Numbers
from tuner.tasks.tags import Tags

if TYPE_CHECKING:
    from tuner.tasks.base import Task

TaskClass: TypeAlias = type[Tags] | type[Labels] | type[Numbers] | type[Classes]
TASKS: tuple[TaskClass, ...] = (Tags, Labels, Numbers, Classes)
"""In the order in which a configuration is asked for them: the last one takes what no other does."""


def task_of_config(config: Any) -> Task:
    """The task that a saved model's configuration tells."""
    found = (kind.of_config(config) for kind in TASKS)
    return next(task for task in found if task is not None)


def check_metric(metric: str | None, *, task: Task) -> str:
    """The metric's name, by default the task's usual one.

    Raises `OptionError` for one that is unknown or of another task.

    >>> check_metric(None, task=Tags(names=("O", "B-a"))), check_metric("macro_f1", task=Classes(names=("a", "b")))
    ('entity_f1', 'macro_f1')
    """
    if metric is None:
        return task.metrics[0]
    if metric in task.metrics:
        return metric
    other = next((kind for kind in TASKS if metric in kind.metrics), None)
    if other is not None:
        raise OptionError(
            f"--metric {metric} does not go with {task.held}",
            why=f"it scores {other.held}",
            fix=f"omit --metric, or use {', '.join(task.metrics)}",
        )
    return metrics.check_metric(metric)
