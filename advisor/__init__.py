"""Which transfer-learning strategy for my data? Decides and explains; models and training live in ``tuner``.

>>> from advisor import TransferClassifier, recommend, tune
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.estimator import TransferClassifier
    from advisor.pipeline import recommend, tune

__version__ = "0.1.0"
__all__ = ["TransferClassifier", "__version__", "recommend", "tune"]
_LIES_IN = {"TransferClassifier": "estimator", "recommend": "pipeline", "tune": "pipeline"}


def __getattr__(name: str) -> Any:
    """Load what is offered when it is first used: it imports torch, and ``advisor --help`` should not."""
    if name in _LIES_IN:
        return getattr(importlib.import_module(f"advisor.{_LIES_IN[name]}"), name)
    raise AttributeError(f"module 'advisor' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
