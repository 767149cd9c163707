"""The four situations of the classic rule, and how probable each is for this dataset."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tuner.names import CLASSIC_RULES, SITUATIONS
from tuner.records import Record

if TYPE_CHECKING:
    from advisor.measures.size import SizeProfile
    from advisor.similarity.similarity import SimilarityProfile

# A situation is named when it is at least this probable; below, the answer is a list of candidates.
NAMED_FROM = 0.6
CANDIDATE_FROM = 0.15


class Situation(Enum):
    """Size and similarity of the target data; the number is the classic text's."""

    LARGE_DISSIMILAR = 1
    LARGE_SIMILAR = 2
    SMALL_DISSIMILAR = 3
    SMALL_SIMILAR = 4

    @property
    def title(self) -> str:
        """The situation in words.

        >>> Situation.SMALL_DISSIMILAR.title
        'small and dissimilar'
        """
        return SITUATIONS[self.value]

    @property
    def classic_rule(self) -> str:
        """What the classic rule says; a prior, not a finding."""
        return CLASSIC_RULES[self.value]


@dataclass(frozen=True, kw_only=True)
class SituationEstimate(Record):
    """Probabilities of the four situations; ``number`` only where one is probable enough to be certain, ``likeliest``
    in any case."""

    number: int | None
    name: str | None
    candidates: tuple[int, ...]
    probabilities: dict[str, float] | None
    axes: dict[str, float | None]
    likeliest: int | None = None

    @property
    def situation(self) -> Situation | None:
        """The situation that is named; None where none is probable enough."""
        return None if self.number is None else Situation(self.number)


def estimate_situation(size: SizeProfile, similarity: SimilarityProfile) -> SituationEstimate:
    """Combine the two probabilities as independent ones; without a similarity there is no number.

    The product is exact for two measurements that share no error: one counts rows, the other compares features.
    """
    axes = {"p_large": size.p_large, "p_similar": similarity.p_similar}
    if similarity.p_similar is None:
        possible = {"large": (1, 2), "small": (3, 4)}.get(size.verdict, (1, 2, 3, 4))
        return SituationEstimate(number=None, name=None, candidates=possible, probabilities=None, axes=axes)
    large, similar = size.p_large, similarity.p_similar
    probabilities = {
        Situation.LARGE_DISSIMILAR: large * (1 - similar),
        Situation.LARGE_SIMILAR: large * similar,
        Situation.SMALL_DISSIMILAR: (1 - large) * (1 - similar),
        Situation.SMALL_SIMILAR: (1 - large) * similar,
    }
    ranked = sorted(probabilities, key=lambda situation: -probabilities[situation])
    named = ranked[0] if probabilities[ranked[0]] >= NAMED_FROM else None
    return SituationEstimate(
        number=None if named is None else named.value,
        name=None if named is None else named.title,
        candidates=tuple(s.value for s in ranked if probabilities[s] >= CANDIDATE_FROM),
        probabilities={str(s.value): probabilities[s] for s in Situation},
        axes=axes,
        likeliest=ranked[0].value,
    )
