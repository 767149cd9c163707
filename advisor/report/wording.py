"""How the report says things: numbers, strategies, candidates, and Markdown that shows data as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from advisor.report.fields import Json, interval, line, number, part, whole
from tuner import names

NOT_MEASURED = "not measured"

_KEYS = {  # words of the JSON that read badly when only their underscores are replaced
    "sha256": "SHA-256",
    "n_examples": "examples",
    "n_classes": "classes",
    "n_blocks": "blocks",
    "n_per_class_min": "smallest class",
    "n_duplicates": "duplicates",
    "n_entities": "entities",
    "n_words": "words",
    "by_type": "entities of the type",
    "n_effective": "examples without duplicates",
    "p_large": "probability of large",
    "sd": "s.d.",
    "n": "runs",
    "jsd": "Jensen-Shannon distance",
}


def percent(value: float | None) -> str:
    """A score or share as people say it.

    >>> percent(0.9054), percent(None), percent(1.0)
    ('90.5%', 'not measured', '100%')
    """
    if value is None:
        return NOT_MEASURED
    text = f"{100 * value:.1f}".replace("-", "−")
    return ("100" if text == "100.0" else text) + "%"


def span(bounds: tuple[float, float] | None) -> str:
    """An interval of scores.

    >>> span((0.889, 0.92))
    '88.9–92.0%'
    """
    return "" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}%"


def share(value: float) -> str:
    """A probability in whole percent; what is not quite certain is not called certain.

    >>> share(0.634), share(0.999), share(0.001), share(0.0)
    ('63%', '>99%', '<1%', '0%')
    """
    if 0 < value < 0.005:
        return "<1%"
    if 0.995 < value < 1:
        return ">99%"
    return f"{100 * value:.0f}%"


def points(difference: float) -> str:
    """A difference of two scores.

    >>> points(-0.127), points(0.004)
    ('−12.7 points', '+0.4 points')
    """
    return f"{100 * difference:+.1f} points".replace("-", "−")


def plain(value: float) -> str:
    """A bare number of unknown size: three significant digits.

    >>> plain(1234.0), plain(0.04567), plain(2e-5), plain(0.5)
    ('1,234', '0.0457', '2e-05', '0.5')
    """
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them.

    >>> duration(0.84), duration(12.4), duration(252), duration(7260), duration(None)
    ('0.84 s', '12 s', '4 min 12 s', '2 h 1 min', 'not measured')
    """
    if seconds is None:
        return NOT_MEASURED
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")


def plural(n: int, noun: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "trial"), plural(1200, "class", "classes")
    ('1 trial', '1,200 classes')
    """
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


def key_words(key: str) -> str:
    """A key of the JSON as words."""
    return _KEYS.get(key, line(key, limit=80).replace("_", " "))


def any_value(value: Any, *, depth: int = 0) -> str:
    """Any JSON value in one cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    as_number = number(value)
    if as_number is not None:
        return plain(as_number)
    if isinstance(value, Mapping):
        inner = "; ".join(f"{key_words(str(k))} {any_value(v, depth=depth + 1)}" for k, v in value.items())
        return line(inner, limit=400) if depth < 3 else "…"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(any_value(item, depth=depth + 1) for item in value[:40])
        return line(shown + (", …" if len(value) > 40 else ""), limit=400) if depth < 3 else "…"
    return line(value, limit=400) or "–"


def metric_words(metric: Any) -> str:
    """The metric's name as words; accuracy unless the record says otherwise."""
    return names.metric_name(line(metric, limit=40) or "accuracy")


def feature_words(features: Any) -> str:
    """A feature variant as words.

    >>> feature_words("block_3"), feature_words("concat_last_four")
    ('block 3', 'last four blocks, side by side')
    """
    return names.feature_name(line(features, limit=60))


def candidate_words(candidate: Json, *, n_blocks: int | None) -> str:
    """A candidate's short name.

    >>> candidate_words({"strategy": "freeze_part", "frozen_blocks": 5}, n_blocks=7)
    '5 of 7 blocks frozen'
    """

    def text(key: str) -> str | None:
        return line(candidate.get(key), limit=60) or None

    name = names.candidate_name(
        text("strategy"), n_blocks=n_blocks, frozen_blocks=whole(candidate.get("frozen_blocks")), start=text("start"),
        features=text("features"), augmentation=text("augmentation"), head=text("head"), option=text("option"),
        top=text("top"),
    )  # fmt: skip
    return name or line(candidate.get("label") or candidate.get("strategy"), limit=60) or "unnamed"


def strategy_sentence(candidate: Json, *, n_blocks: int | None) -> str:
    """What to do, as one imperative without its full stop.

    >>> strategy_sentence({"strategy": "freeze_part", "frozen_blocks": 5}, n_blocks=7)
    'Freeze the first 5 of 7 blocks and train the rest'
    """
    strategy = line(candidate.get("strategy") or candidate.get("name"), limit=80)
    said = names.strategy_sentence(
        strategy, start=line(candidate.get("start")), frozen_blocks=whole(candidate.get("frozen_blocks")),
        n_blocks=n_blocks, features=line(candidate.get("features"), limit=60) or None,
    )  # fmt: skip
    return said or strategy.replace("_", " ") or "No strategy was recorded"


def variant_sentence(found: Json, *, n_blocks: int | None) -> str:
    """What augmentation, or an option of training blocks, was worth, without its full stop.

    >>> variant_sentence({"policy": "mixup", "difference": 0.02, "interval": [0.01, 0.03], "seeds": 2,
    ...     "why": "it helped", "candidate": {"strategy": "head_only"}}, n_blocks=7)
    'mixup: it helped: +2.0 points [+1.0, +3.0] on validation against head only, 2 seeds, everything else equal'
    """
    changed = line(found.get("policy") or found.get("option"), limit=40)
    name, why = names.VARIANTS.get(changed, changed), line(found.get("why"))
    difference, bounds, seeds = number(found.get("difference")), interval(found.get("interval")), found.get("seeds")
    if difference is None or bounds is None:
        return f"{name} was not tried: {why}"
    low, high = (100 * edge for edge in bounds)
    kept = "; kept" if found.get("kept") is True else "; not kept" if found.get("kept") is False else ""
    return (
        f"{name}: {why}: {100 * difference:+.1f} points [{low:+.1f}, {high:+.1f}] on validation against "
        f"{candidate_words(part(found, 'candidate'), n_blocks=n_blocks)}, {seeds} {'seed' if seeds == 1 else 'seeds'}, "
        f"everything else equal{kept}"
    )


def cost_sentence(*, pass_seconds: float | None, frozen: Json, trained: Json, n_blocks: int | None) -> str:
    """What reading fixed features cost against training blocks, and what it scored; empty where it was not measured.

    Args:
        pass_seconds: of one pass of the frozen network, which all candidates share; None where it was not timed.
        frozen: the row of a candidate on frozen features, with its ``seconds`` and ``mean``.
        trained: the row of a candidate that trains blocks, with the same.
        n_blocks: blocks of the model, for the names of candidates; None where that is not known.

    >>> said = cost_sentence(
    ...     pass_seconds=12.0, frozen={"strategy": "head_only", "seconds": 0.5, "mean": 0.8},
    ...     trained={"strategy": "freeze_part", "frozen_blocks": 5, "seconds": 25.0, "mean": 0.83}, n_blocks=7)
    >>> said.partition("; ")[2]
    'a run of 5 of 7 blocks frozen took 25 s, 2.0 times both together, and scored 3.0 points more'
    """
    seconds = [number(row.get("seconds")) for row in (frozen, trained)]
    means = [number(row.get("mean")) for row in (frozen, trained)]
    if pass_seconds is None or None in seconds or None in means:
        return ""
    fitted, ran = (float(value or 0.0) for value in seconds)
    gained = 100 * (float(means[1] or 0.0) - float(means[0] or 0.0))
    names = [candidate_words(row, n_blocks=n_blocks) for row in (frozen, trained)]
    ratio = ran / max(pass_seconds + fitted, 1e-9)
    times = f"{ratio:.1f} times both together" if ratio >= 1 else f"{ratio:.0%} of both together"
    return (
        f"Feature-based against fine-tuning, measured here: {duration(pass_seconds)} for one pass of the frozen "
        f"network, which all candidates share, and {duration(fitted)} for {names[0]}; a run of {names[1]} took "
        f"{duration(ran)}, {times}, and scored {abs(gained):.1f} points {'more' if gained >= 0 else 'less'}"
    )


def capital(text: str) -> str:
    """The first letter as a capital; the rest stays as it is."""
    return text[:1].upper() + text[1:]


class Markdown(str):
    """Text that already is Markdown, and is not escaped again."""


def markdown(value: Any) -> str:
    """Data as Markdown that shows it literally, in a paragraph, list item or table cell.

    >>> print(markdown("<script> | $5 and $6 *x* `y`"))
    &lt;script&gt; \\| \\$5 and \\$6 \\*x\\* \\`y\\`
    """
    if isinstance(value, Markdown):
        return value
    text = " ".join(str(value).split())
    text = re.sub(r"([\\`*_{}\[\]#|$~!^])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)  # "1. x" at the start of a line would begin a list
    return re.sub(r"^([-+=])(?=\s|$|[-+=])", r"\\\1", text)


def code_block(command: str) -> Markdown:
    """A command as a fenced block; the fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}sh\n{command}\n{fence}")
