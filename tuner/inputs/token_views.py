"""Changed views of texts: tokens that are omitted or masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tuner.inputs.tokens import Tokens

DROPPED, MASKED = 0.1, 0.15
"""Share of a text's tokens, special ones aside, that a view lacks or that it masks."""

Texts = TypeVar("Texts", bound=Tokens)


def token_views(
    tokens: Texts, *, policy: str, copies: int, seed: int, special: Sequence[int], mask: int | None = None
) -> Texts:
    """Give texts several times over, as `Views`: row ``view * n + i`` is a view of text ``i``, view 0 the text itself.

    Of every other view a share of the tokens is left out or replaced, but at least one ordinary token stays.

    Args:
        tokens: the n texts.
        policy: ``token_dropout`` to leave tokens out, ``masking`` to replace them.
        copies: how many views of each text there are, the text itself among them.
        seed: of what is drawn.
        special: ids of the tokens that always stay.
        mask: id of the token that replaces others; needed for masking only.

    >>> text = Tokens(input_ids=(np.array([1, 7, 8, 9, 2]),), truncated=np.array([False]))
    >>> masked = token_views(text, policy="masking", copies=2, seed=0, special=(1, 2), mask=4)
    >>> masked.input_ids[1].tolist()
    [1, 7, 8, 4, 2]
    """
    rows, types = list(tokens.input_ids), list(tokens.types or ())
    for view in range(1, copies):
        rng = np.random.default_rng((seed, view))
        for row, ids in enumerate(tokens.input_ids):
            ordinary = np.flatnonzero(~np.isin(ids, special))
            share = DROPPED if policy == "token_dropout" else MASKED
            # A share of a short text is less than one token: then one now and then.
            most = max(len(ordinary) - 1, 0)
            chosen = rng.permutation(ordinary)[: min(int(share * len(ordinary) + rng.random()), most)]
            dropped = chosen if policy == "token_dropout" else ()
            changed = ids.copy()
            changed[chosen] = ids[chosen] if policy == "token_dropout" else mask
            rows.append(np.delete(changed, dropped))
            if tokens.types is not None:
                types.append(np.delete(tokens.types[row], dropped))
    return tokens.viewed(input_ids=rows, types=types or None, copies=copies)
