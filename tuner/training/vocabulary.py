"""Train only the rows of an embedding table that occur in the data, with the result of training all of them.

An embedding table is most of a small model's weights, and an optimizer step touches every one of them although rows
that do not occur have no gradient. Without weight decay AdamW leaves such rows exactly where they are, so a table of
the occurring rows gives the same weights for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


class CompactEmbedding(nn.Module):
    """A compact embedding table that is looked up by the token numbers of the whole table."""

    lookup: torch.Tensor

    def __init__(self, full: nn.Embedding, tokens: np.ndarray) -> None:
        super().__init__()
        rows = torch.from_numpy(np.asarray(tokens, dtype=np.int64)).to(full.weight.device)
        lookup = torch.full((full.num_embeddings,), -1, dtype=torch.long, device=full.weight.device)
        lookup[rows] = torch.arange(len(rows), device=full.weight.device)
        self.tokens = rows
        self.weight = nn.Parameter(full.weight.detach()[rows].clone())
        self.register_buffer("lookup", lookup, persistent=False)
        self.num_embeddings = full.num_embeddings
        self.embedding_dim = full.embedding_dim
        self.padding_idx = full.padding_idx
        # The padding row has no gradient in the full table and must have none here.
        self._padding_row = None if full.padding_idx is None else int(lookup[full.padding_idx])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(b, t) token numbers of the full table to (b, t, d); a token without a row is an index error."""
        padding = self._padding_row if self._padding_row is not None and self._padding_row >= 0 else None
        return nn.functional.embedding(self.lookup[input_ids], self.weight, padding_idx=padding)


@contextmanager
def compact_vocabulary(base: nn.Module, *, tokens: np.ndarray) -> Iterator[int | None]:
    """While entered, the base's input embedding holds only `tokens`; afterwards their trained rows are written back.

    Yields how many rows it holds, or None where an embedding that is shared, scaled or otherwise special, or no larger
    than the data's vocabulary, stays as it is.
    """
    find = getattr(base, "get_input_embeddings", None)
    full = find() if find is not None else None
    place = _place(base, full)
    if full is None or place is None or len(tokens) >= full.num_embeddings:
        yield None
        return
    parent, name = place
    compact = CompactEmbedding(full, tokens).train(full.training)
    compact.weight.requires_grad_(full.weight.requires_grad)
    setattr(parent, name, compact)
    try:
        yield len(tokens)
    finally:
        setattr(parent, name, full)
        with torch.no_grad():
            full.weight[compact.tokens] = compact.weight


def _place(base: nn.Module, embedding: object) -> tuple[nn.Module, str] | None:
    """The one place in the model where a plain embedding sits; None where it is not plain or not alone."""
    if type(embedding) is not nn.Embedding or embedding.max_norm is not None or embedding.scale_grad_by_freq:
        return None
    places = [
        (module, name) for module in base.modules() for name, child in module._modules.items() if child is embedding
    ]
    holders = [module for module in base.modules() if any(p is embedding.weight for p in module._parameters.values())]
    return places[0] if len(places) == 1 and len(holders) == 1 else None
