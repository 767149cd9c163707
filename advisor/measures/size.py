"""How large the target data is: counts of effective examples or entities, the smallest class or rarest type, and the
probe's learning curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.measures.probe import CurvePoint  # needed at run time: the hints of records that are read back
from tuner.records import Record

SMALL_EXAMPLES, LARGE_EXAMPLES = 1_000, 10_000
THRESHOLDS_FROM = (
    "in the evidence (14 text sets, all-MiniLM-L6-v2) doubling the rows gained 1.9 points or more below 1,000 rows, "
    "and 1.4 from there to 10,000 (6 sets), beyond which nothing was measured"
)
"""Why the counts are these (docs/scoreboard.md). Those of a class are conventions."""
SMALL_PER_CLASS, LARGE_PER_CLASS = 64, 500
# A count on the threshold is not certain to be on either side of what matters; this is the doubt left beyond it.
RESIDUAL_DOUBT = 0.05


@dataclass(frozen=True, kw_only=True)
class Counting:
    """The words for a size: ``rows`` names what is counted, ``noun`` the rows that a learning curve counts."""

    rows: str
    noun: str
    unit: str
    smallest: str
    each: str


EXAMPLES = Counting(
    rows="{effective:,} distinct examples", noun="rows", unit="examples", smallest="the smallest class", each="class"
)
LABELS = Counting(
    rows="{effective:,} distinct examples", noun="rows", unit="examples", smallest="the rarest label", each="label"
)
ENTITIES = Counting(
    rows="{counted:,} entities in {effective:,} distinct sentences",
    noun="sentences",
    unit="entities",
    smallest="the rarest type",
    each="type",
)


@dataclass(frozen=True, kw_only=True)
class SizeProfile(Record):
    """The size verdict with what it rests on; ``interval`` spans both criteria, 0 small and 1 large, on log scales.

    What is counted (``unit``) are "examples", or of tagged sentences "entities": ``n_entities`` in distinct sentences,
    of every type in ``by_type``; ``n_per_class_min`` is then the rarest type's, and examples are sentences.
    """

    verdict: str
    n_examples: int
    n_effective: int
    n_per_class_min: int | None
    n_duplicates: int
    p_large: float
    interval: tuple[float, float]
    thresholds: dict[str, int]
    learning_curve: tuple[CurvePoint, ...]
    curve_features: str
    why: str
    thresholds_from: str = THRESHOLDS_FROM
    unit: str = "examples"
    n_entities: int | None = None
    by_type: dict[str, int] | None = None


def position(count: int, *, small: int, large: int) -> float:
    """Where a count lies between two thresholds on a log scale, 0 to 1.

    >>> position(1000, small=100, large=10_000)
    0.5
    """
    if count <= small:
        return 0.0
    return min(1.0, math.log(count / small) / math.log(large / small))


def measure_size(
    *,
    n_examples: int,
    n_duplicates: int,
    n_per_class_min: int | None,
    by_type: dict[str, int] | None = None,
    counting: Counting = EXAMPLES,
    learning_curve: tuple[CurvePoint, ...] = (),
    curve_features: str = "last",
) -> SizeProfile:
    """Verdict from the number of distinct labelled examples and the smallest class (thresholds: priors, see docs).

    Small below 1,000 examples or 64 of a class; large above 10,000 and 500 of every class; uncertain between. The
    probability follows the weaker of the two criteria. Where there are entities, they are what is counted, against the
    same thresholds: a sentence without one teaches little of where the others are.

    Args:
        n_examples: labelled rows.
        n_duplicates: rows beyond the first of each exact text.
        n_per_class_min: distinct rows of the smallest class, or entities of the rarest type; None where there is
            nothing that may be rare.
        by_type: entities of every type, where entities are what is learned.
        counting: the words for all of these.
        learning_curve: of the best probe.
        curve_features: what that probe reads.

    >>> measure_size(n_examples=300, n_duplicates=0, n_per_class_min=100).verdict
    'small'
    >>> measure_size(n_examples=50_000, n_duplicates=0, n_per_class_min=5_000).verdict
    'large'
    >>> measure_size(n_examples=500, n_duplicates=0, n_per_class_min=None).why
    '500 distinct examples, under 1,000: small'
    >>> measure_size(n_examples=3_000, n_duplicates=0, n_per_class_min=40, by_type={"a": 900, "b": 40},
    ...              counting=ENTITIES).why
    '940 entities in 3,000 distinct sentences, under 1,000: small'
    """
    effective = n_examples - n_duplicates
    n_entities = None if by_type is None else sum(by_type.values())
    counted = effective if n_entities is None else n_entities
    by_count = position(counted, small=SMALL_EXAMPLES, large=LARGE_EXAMPLES)
    by_class = by_count
    if n_per_class_min is not None:
        by_class = position(n_per_class_min, small=SMALL_PER_CLASS, large=LARGE_PER_CLASS)
    low, high = sorted((by_count, by_class))
    verdict = "small" if low == 0 else "large" if low == 1 else "uncertain"
    rows = counting.rows.format(counted=counted, effective=effective)
    smallest, unit, each = counting.smallest, counting.unit, counting.each
    if n_per_class_min is None:
        why = {
            "small": f"{rows}, under {SMALL_EXAMPLES:,}: small",
            "large": f"{rows}, over {LARGE_EXAMPLES:,}: large",
            "uncertain": f"{rows}: between small (under {SMALL_EXAMPLES:,}) and large (over {LARGE_EXAMPLES:,})",
        }[verdict]
    elif verdict == "small" and by_count == 0:
        why = f"{rows}, under {SMALL_EXAMPLES:,}: small"
    elif verdict == "small":
        why = f"{smallest} has {n_per_class_min:,} {unit}, under {SMALL_PER_CLASS}: small"
    elif verdict == "large":
        why = f"{rows}, over {LARGE_EXAMPLES:,}, and {n_per_class_min:,} in {smallest}, over {LARGE_PER_CLASS}: large"
    else:
        why = (
            f"{rows} and {n_per_class_min:,} in {smallest}: between small (under {SMALL_EXAMPLES:,}, or under "
            f"{SMALL_PER_CLASS} a {each}) and large (over {LARGE_EXAMPLES:,} and {LARGE_PER_CLASS} a {each})"
        )
    return SizeProfile(
        verdict=verdict,
        n_examples=n_examples,
        n_effective=effective,
        n_per_class_min=n_per_class_min,
        n_duplicates=n_duplicates,
        p_large=RESIDUAL_DOUBT + (1 - 2 * RESIDUAL_DOUBT) * low,
        interval=(low, high),
        thresholds={"small_examples": SMALL_EXAMPLES, "large_examples": LARGE_EXAMPLES}
        | ({} if n_per_class_min is None else {"small_per_class": SMALL_PER_CLASS, "large_per_class": LARGE_PER_CLASS}),
        learning_curve=learning_curve,
        curve_features=curve_features,
        why=why + _curve_note(learning_curve, noun=counting.noun),
        unit=unit,
        n_entities=n_entities,
        by_type=by_type,
    )


def _curve_note(curve: tuple[CurvePoint, ...], *, noun: str) -> str:
    """What the last doubling of the data gained the probe, with the interval over the held-out rows."""
    if not curve or curve[-1].gain is None or curve[-1].gain_interval is None:
        return ""
    before, after = curve[-2], curve[-1]
    low, high = curve[-1].gain_interval
    trend = "still rising" if low > 0 else "falling" if high < 0 else "neither a rise nor a fall is shown"
    points = f"{100 * curve[-1].gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"; from {before.n:,} to {after.n:,} {noun} the probe gained {points} ({trend})"
