"""Which transfer-learning strategy for my data? Decides and explains; models and training live in ``tuner``.

>>> from advisor import recommend, tune
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.pipeline import recommend, tune

__version__ = "0.1.0"
__all__ = ["__version__", "recommend", "tune"]


def __getattr__(name: str) -> Any:
    """Load the pipeline when it is first used: it imports torch, and ``advisor --help`` should not."""
    if name in ("recommend", "tune"):
        from advisor import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'advisor' has no attribute {name!r}")
