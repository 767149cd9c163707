"""Rows as a model reads them, whatever they are."""

from __future__ import annotations

from typing import TypeAlias

from tuner.inputs.images import Pixels, Views
from tuner.inputs.tokens import Tokens

Encoded: TypeAlias = Tokens | Pixels | Views
