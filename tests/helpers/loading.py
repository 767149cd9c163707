"""Datasets read with options by their names, as most tests say them."""

from typing import Any

import advisor.data.load
from advisor.data.options import DataOptions
from advisor.data.target import TargetData


def load_target(data: Any, **options: Any) -> TargetData:
    """`advisor.data.load.load_target`."""
    return advisor.data.load.load_target(data, DataOptions(**options))
