"""The report's figures, drawn with matplotlib from plain records and returned as SVG markup for one page.

Nothing is computed here and nothing is read from files. Every figure is drawn twice, wide and narrow, because text in a
scaled-down picture cannot be read on a phone; the page shows one of the two. Colours are placeholders that become
CSS variables, so that one drawing serves light and dark; ids get a prefix, so that figures can share a page; the hash
salt is fixed and there is no date, so that the same records give the same bytes.
"""

from __future__ import annotations

import io
import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.report.fields import line
from advisor.report.wording import SITUATIONS, duration, percent, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, ACCENT, PAPER, PAGE = ("#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112")
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", PAPER: "--paper", PAGE: "--page"}

WIDE, FULL, NARROW = 470, 960, 340
"""Widths in CSS pixels: half the page, the whole page, a phone."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_LABEL_LIMIT = 30  # characters; text mode cannot measure the reader's font, so labels stay short


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One measured score, with its interval where there is one."""

    label: str
    score: float
    low: float | None = None
    high: float | None = None
    x: float = 0.0
    strong: bool = False  # the one the figure is about
    hollow: bool = False  # a single measurement without spread, or a prediction


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure: both drawings as SVG markup."""

    wide: str
    narrow: str


class _Sketch:
    """A matplotlib figure in CSS pixels, with the house's style."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(self.figure)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Axes with the given margins in pixels."""
        box = (left / self.width, bottom / self.height)
        size = ((self.width - left - right) / self.width, (self.height - top - bottom) / self.height)
        axes: Axes = self.figure.add_axes((*box, *size))
        axes.set_facecolor("none")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set(color=RULE, linewidth=1)
        axes.tick_params(length=0, colors=MUTED, labelsize=12, pad=6)
        axes.set_axisbelow(True)
        return axes

    def markup(self, prefix: str, title: str, description: str) -> str:
        """The figure as SVG markup to inline."""
        buffer = io.StringIO()
        self.figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
        return _inline(buffer.getvalue(), prefix=prefix, title=title, description=description)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings = {
        "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
        "svg.hashsalt": "transfer-advisor",
        "text.parse_math": False,  # otherwise "$5 and $6" is read as mathematics
        "text.usetex": False,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same layout on every machine
        "font.size": 12,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.unicode_minus": True,
        "hatch.linewidth": 1.0,
        "path.simplify": False,
    }
    with matplotlib.rc_context(settings):
        yield


def _inline(svg: str, *, prefix: str, title: str, description: str) -> str:
    """matplotlib's file as an element of a page: own ids, CSS variables, the page's font, a title and a description."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            # matplotlib's style sheet would apply to the whole page; the page has the same rule for figures only
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    used = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            used.update(re.findall(r"url\(#([^)]+)\)", value))
            if name == f"{{{_XLINK}}}href":
                used.add(value.removeprefix("#"))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{prefix}-{identity}")
        for name, value in list(element.attrib.items()):
            if name == f"{{{_XLINK}}}href":
                value = f"#{prefix}-{value.removeprefix('#')}"
            value = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", value)
            if name in ("style", "fill", "stroke"):
                value = _page_style(value)
            element.set(name, value)
        element.tail = None if not (element.tail or "").strip() else element.tail
        if element.tag not in (f"{{{_SVG}}}text", f"{{{_SVG}}}tspan") and not (element.text or "").strip():
            element.text = None
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{prefix}-{tag}"})
        element.text = line(text)
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(style: str) -> str:
    for colour, variable in _VARIABLES.items():
        style = style.replace(colour, f"var({variable})")
    font = re.search(r"font: ([^;]*?)([\d.]+)px [^;]*;?", style)
    if font:
        weight = re.search(r"\b(bold|[1-9]00)\b", font[1])
        own = f"font-size: {font[2]}px;" + (f" font-weight: {weight[1]};" if weight else "")
        style = style.replace(font[0], own)
    return re.sub(r"font-family: [^;]*;? ?", "", style)


def _short(label: str, limit: int = _LABEL_LIMIT) -> str:
    return line(label, limit=limit)


def _both(draw: Any, *, name: str, title: str, description: str) -> Drawing:
    """`draw(narrow=...)` gives a sketch; both are rendered under ids of their own."""
    with _style():
        wide = draw(narrow=False).markup(f"{name}-w", title, description)
        narrow = draw(narrow=True).markup(f"{name}-n", title, description)
    return Drawing(wide=wide, narrow=narrow)


def quadrant(
    *,
    p_large: float | None,
    p_similar: float | None,
    probabilities: Mapping[int, float] | None,
    likely: int | None,
    title: str,
    description: str,
) -> Drawing:
    """The four situations with this dataset in them.

    A shaded square as large as one cell slides between them: along by the probability of "similar", up by that of
    "large". What of it lies in a cell is that situation's probability, so that area is uncertainty. An axis that was
    not measured stretches the shade over its whole length.
    """

    def draw(*, narrow: bool) -> _Sketch:
        from matplotlib.patches import FancyBboxPatch, Rectangle

        width, height = (NARROW, 330) if narrow else (WIDE, 420)
        sketch = _Sketch(width, height)
        axes = sketch.axes(26, 4, 4, 26)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.add_patch(
            FancyBboxPatch(
                (0.004, 0.004),
                0.992,
                0.992,
                boxstyle="round,pad=0,rounding_size=0.02",
                facecolor=PAPER,
                edgecolor=RULE,
                linewidth=1,
                mutation_aspect=width / height,
            )
        )
        axes.plot([0.5, 0.5], [0.004, 0.996], color=RULE, linewidth=1)
        axes.plot([0.004, 0.996], [0.5, 0.5], color=RULE, linewidth=1)

        known_x, known_y = p_similar is not None, p_large is not None
        x, span_x = (0.5 * (p_similar or 0.0), 0.5) if known_x else (0.0, 1.0)
        y, span_y = (0.5 * (p_large or 0.0), 0.5) if known_y else (0.0, 1.0)
        if known_x or known_y:
            hatch = None if known_x and known_y else "////"
            axes.add_patch(
                Rectangle(
                    (x, y),
                    span_x,
                    span_y,
                    facecolor=ACCENT,
                    edgecolor=ACCENT,
                    linewidth=0,
                    alpha=0.16 if hatch is None else 0.10,
                )
            )
            if hatch:
                axes.add_patch(
                    Rectangle(
                        (x, y),
                        span_x,
                        span_y,
                        facecolor="none",
                        edgecolor=ACCENT,
                        linewidth=0,
                        hatch=hatch,
                        alpha=0.45,
                    )
                )
        for shade in axes.patches[1:]:
            shade.set_clip_path(axes.patches[0])  # the box has round corners
        if known_x and known_y:
            axes.plot(
                [x + span_x / 2],
                [y + span_y / 2],
                "o",
                color=ACCENT,
                markersize=13,
                markeredgecolor=PAPER,
                markeredgewidth=2,
            )

        size = 11 if narrow else 12
        inner_width, inner_height = width - 30, height - 30
        rules = {
            1: ("train the whole", "network"),
            2: ("any works; freezing", "a part is efficient"),
            3: ("freeze a part, with", "care for the depth"),
            4: ("train only", "the classifier"),
        }
        for n, (right, upper) in {1: (False, True), 2: (True, True), 3: (False, False), 4: (True, False)}.items():
            strong = n == likely
            chance = share(probabilities.get(n, 0.0)) if probabilities is not None else ""
            weight = "bold" if strong else "normal"
            # the chance stands in the cell's outer corner, so that the shade between the cells stays free of text
            texts: list[tuple[float, str, dict[str, Any]]] = [
                (
                    34 if upper else 17,
                    chance,
                    {"fontsize": 19 if narrow else 22, "color": ACCENT if strong else MUTED, "fontweight": "bold"},
                ),
                (56 if upper else 80, f"{n} · {SITUATIONS[n]}", {"fontsize": size, "color": INK, "fontweight": weight}),
                (73 if upper else 63, rules[n][0], {"fontsize": size - 1, "color": MUTED}),
                (88 if upper else 48, rules[n][1], {"fontsize": size - 1, "color": MUTED}),
            ]
            for offset, text, style in texts:
                offset -= 0 if chance else (32 if upper else 31)  # nothing to leave room for
                at = (
                    1 - 14 / inner_width if right else 14 / inner_width,
                    1 - offset / inner_height if upper else offset / inner_height,
                )
                axes.text(*at, text, ha="right" if right else "left", va="baseline", **style)

        tick: dict[str, Any] = {"fontsize": 12, "color": MUTED}
        axes.text(0.25, -10 / inner_height, "dissimilar", ha="center", va="top", **tick)
        axes.text(0.75, -10 / inner_height, "similar", ha="center", va="top", **tick)
        axes.text(-12 / inner_width, 0.75, "large", ha="center", va="center", rotation=90, **tick)
        axes.text(-12 / inner_width, 0.25, "small", ha="center", va="center", rotation=90, **tick)
        if not known_x:
            axes.text(0.5, -10 / inner_height, "?", ha="center", va="top", **tick)
        if not known_y:
            axes.text(-12 / inner_width, 0.5, "?", ha="center", va="center", **tick)
        return sketch

    return _both(draw, name="quadrant", title=title, description=description)


def similarity_scale(
    *,
    score: float,
    interval: tuple[float, float] | None,
    cuts: tuple[float, float] | None,
    title: str,
    description: str,
) -> Drawing:
    """The similarity score on its scale from 0 (the far end of the ladder) to 1 (the source itself)."""

    def draw(*, narrow: bool) -> _Sketch:
        from matplotlib.patches import Rectangle

        width = NARROW if narrow else WIDE
        sketch = _Sketch(width, 84)
        axes = sketch.axes(2, 28, 2, 26)
        low = min(0.0, score, *(interval or ()))
        high = max(1.0, score, *(interval or ()))
        margin = 0.02 * (high - low)
        axes.set(xlim=(low - margin, high + margin), ylim=(0, 1), yticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.add_patch(
            Rectangle((low - margin, 0.28), high - low + 2 * margin, 0.44, facecolor=RULE, linewidth=0, alpha=0.55)
        )
        if cuts is not None:
            axes.add_patch(
                Rectangle((cuts[0], 0.28), cuts[1] - cuts[0], 0.44, facecolor=MUTED, linewidth=0, alpha=0.28)
            )
            zones = (
                ((low + cuts[0]) / 2, "dissimilar"),
                ((cuts[0] + cuts[1]) / 2, "uncertain"),
                ((cuts[1] + high) / 2, "similar"),
            )
            wide_enough = (cuts[1] - cuts[0]) / (high - low) * width > 62
            for x, name in zones:
                if name != "uncertain" or wide_enough:
                    axes.text(x, -0.3, name, ha="center", va="center", fontsize=11, color=MUTED)
            axes.set_xticks([])
        else:
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        if interval is not None:
            axes.plot(interval, [0.5, 0.5], color=ACCENT, linewidth=4, solid_capstyle="round")
        axes.plot([score], [0.5], "o", color=ACCENT, markersize=13, markeredgecolor=PAGE, markeredgewidth=2)
        inside = (score - low) / (high - low)
        align = "left" if inside < 0.1 else "right" if inside > 0.9 else "center"
        axes.text(score, 1.1, f"{score:.2f}", ha=align, va="bottom", fontsize=14, color=INK, fontweight="bold")
        return sketch

    return _both(draw, name="similarity", title=title, description=description)


def _percent_ticks(low: float, high: float, *, most: int) -> list[float]:
    """At most `most` round values between `low` and `high`."""
    for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5):
        first = round(-(-low // step) * step, 6) + 0.0  # minus nothing is nothing
        ticks = []
        while first <= high + 1e-9:
            ticks.append(round(first, 6))
            first += step
        if len(ticks) <= most:
            return ticks
    return [low, high]


def _tick_label(value: float, ticks: Sequence[float]) -> str:
    fine = any(abs(100 * tick - round(100 * tick)) > 1e-6 for tick in ticks)
    return f"{100 * value:.{1 if fine else 0}f}%"


def _range(values: Sequence[float], *, least: float = 0.06) -> tuple[float, float]:
    low, high = min(values), max(values)
    lack = max(0.0, least - (high - low)) / 2
    pad = 0.10 * max(high - low, least)
    return max(-0.005, low - lack - pad), min(1.01, high + lack + pad)


def _score_axis(axes: Axes, low: float, high: float, *, most: int = 6) -> None:
    ticks = _percent_ticks(low, high, most=most)
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, [_tick_label(tick, ticks) for tick in ticks])
    axes.grid(axis="y", color=RULE, linewidth=1)


def _draw_marks(
    axes: Axes, marks: Sequence[Mark], *, joined: bool, vertical: bool = True, gap: float | None = None
) -> None:
    for one, other in itertools.pairwise(marks) if joined else ():
        dotted = gap is not None and other.x - one.x > gap  # nothing was measured between the two
        axes.plot(
            [one.x, other.x],
            [one.score, other.score],
            color=ACCENT,
            linewidth=1.6,
            linestyle=(0, (1, 3)) if dotted else "-",
            alpha=0.45,
            zorder=2,
        )
    few = len(marks) <= 16
    for mark in marks:
        if mark.low is not None and mark.high is not None:
            bar = ([mark.x, mark.x], [mark.low, mark.high])
            axes.plot(
                *(bar if vertical else bar[::-1]),
                color=ACCENT,
                linewidth=2,
                alpha=0.55,
                zorder=3,
                marker="_" if vertical else "|",
                markersize=(11 if few else 4) + 8 * mark.strong,
                markeredgewidth=1.6,
            )
        at = ([mark.x], [mark.score]) if vertical else ([mark.score], [mark.x])
        # the rim of a full dot takes some of it
        size = (8 if mark.hollow else 10) + (2 if mark.strong else 0) - (0 if few else 1.5)
        axes.plot(
            *at,
            "o",
            markersize=size,
            color=PAGE if mark.hollow else ACCENT,
            markeredgecolor=ACCENT if mark.hollow else PAGE,
            markeredgewidth=1.8,
            zorder=5 if mark.strong else 4,
        )
        if mark.strong:  # a ring sets the one that matters apart, also in grey print
            axes.plot(
                *at, "o", markersize=size + 6, color="none", markeredgecolor=ACCENT, markeredgewidth=1.4, zorder=4
            )


def _near(references: Sequence[Mark], low: float, high: float) -> list[float]:
    """The baselines worth widening the axis for; those farther away would flatten the curve and are named instead."""
    reach = 0.35 * (high - low)
    return [ref.score for ref in references if low - reach <= ref.score <= high + reach]


def _reference_lines(axes: Axes, references: Sequence[Mark], *, height: float) -> None:
    """Dashed baselines, each named at the right edge; names that would touch are moved apart."""
    low, high = axes.get_ylim()
    below = ", ".join(f"{_short(r.label, 24)} {percent(r.score)}" for r in references if r.score < low)
    if below:
        axes.set_ylim(low - 24 / height * (high - low), high)  # a strip of its own, clear of the marks
        axes.annotate(
            f"↓ {below}",
            (1, 0),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=11,
            color=MUTED,
            zorder=6,
        )
    above_axis = [ref for ref in references if low <= ref.score <= high]
    gap = 15 / height * (high - low)
    level = float("inf")
    for ref in sorted(above_axis, key=lambda ref: -ref.score):
        axes.axhline(ref.score, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        level = min(level - gap, ref.score + 0.25 * gap)
        if level < ref.score - 0.1 * gap:  # no room above the line: the name goes below it
            level = min(level, ref.score - 0.95 * gap)
        axes.annotate(
            f"{_short(ref.label, 24)} {percent(ref.score)}",
            (1, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=11,
            color=MUTED,
            zorder=6,
        )


def depth_curve(
    *,
    measured: Sequence[Mark],
    predicted: Sequence[Mark],
    unmeasured: Sequence[int],
    references: Sequence[Mark],
    seconds: Mapping[int, float],
    n_blocks: int,
    searched: tuple[int, int] | None,
    advised: int | None,
    score_name: str,
    title: str,
    description: str,
) -> Drawing:
    """Score by freeze depth with error bars above, seconds below; depths not measured are question marks."""
    every = [*measured, *predicted]

    def draw(*, narrow: bool) -> _Sketch:
        width = NARROW if narrow else FULL
        cost_height = 96 if seconds else 0
        score_height = 250 if every else 110
        top, bottom = 34, 48
        sketch = _Sketch(width, top + score_height + cost_height + bottom)
        left, right = (46, 8) if narrow else (56, 20)
        axes = sketch.axes(left, top, right, bottom + cost_height)
        edge = (-0.55, n_blocks + 0.55)
        axes.set_xlim(*edge)
        values = [value for m in every for value in (m.score, m.low, m.high) if value is not None]
        if values:
            low, high = _range(values)
            _score_axis(axes, *_range([*values, *_near(references, low, high)]))
            _reference_lines(axes, references, height=score_height)
        else:
            axes.set(ylim=(0, 1), yticks=[])
        if searched is not None and searched != (0, n_blocks):
            axes.axvspan(searched[0] - 0.45, searched[1] + 0.45, color=ACCENT, alpha=0.07, linewidth=0, zorder=0)
        floor = axes.get_ylim()
        far = bool(values) and any(ref.score < floor[0] for ref in references)
        for depth in unmeasured:
            axes.text(
                depth,
                floor[0] + (28 if far else 8) / score_height * (floor[1] - floor[0]),
                "?",
                ha="center",
                va="bottom",
                fontsize=13,
                color=MUTED,
            )
        if advised is not None:
            axes.axvline(advised, color=ACCENT, linewidth=1.2, linestyle=(0, (1, 3)), zorder=1)
            side = "right" if advised > 0.8 * n_blocks else "left" if advised < 0.2 * n_blocks else "center"
            axes.annotate(
                "advised",
                (advised, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 5),
                textcoords="offset points",
                ha=side,
                va="bottom",
                fontsize=11,
                color=ACCENT,
            )
        _draw_marks(axes, predicted, joined=False)
        _draw_marks(axes, measured, joined=True, gap=1)
        at_left = advised is None or advised > (0.45 if narrow else 0.2) * n_blocks
        if every:
            sketch.figure.text(
                4 / width if at_left else 1 - right / width,
                1 - 14 / sketch.height,
                _short(score_name, 34),
                fontsize=11,
                color=MUTED,
                ha="left" if at_left else "right",
            )

        step = max(1, -(-(n_blocks + 1) // (12 if narrow else 28)))
        ticks = sorted({*range(0, n_blocks + 1, step), n_blocks})
        if len(ticks) > 2 and ticks[-1] - ticks[-2] < step:
            ticks.pop(-2)
        if seconds:
            axes.set_xticks([])
            below = sketch.axes(left, top + score_height + 24, right, bottom)
            below.set_xlim(*edge)
            peak = max(seconds.values()) or 1.0
            below.set_ylim(0, peak * 1.32)
            below.bar(list(seconds), list(seconds.values()), width=0.5, color=MUTED, alpha=0.38, linewidth=0)
            if n_blocks < (9 if narrow else 16):
                for depth, value in seconds.items():
                    text = f"{value:.0f}" if narrow or value >= 9.95 else f"{value:.1f}"
                    below.text(
                        depth,
                        value + 0.05 * peak,
                        text if narrow else f"{text} s",
                        ha="center",
                        va="bottom",
                        fontsize=11,
                        color=MUTED,
                    )
                below.set_yticks([])
            else:
                below.set_yticks([peak], [duration(peak)])
                below.grid(axis="y", color=RULE, linewidth=1)
            below.annotate(
                "seconds to train",
                (0, 1),
                xycoords="axes fraction",
                xytext=(4 - left, 8),
                textcoords="offset points",
                fontsize=11,
                color=MUTED,
            )
        else:
            below = axes
        below.set_xticks(ticks, [str(tick) for tick in ticks])
        ends = "frozen blocks" if narrow else f"frozen blocks   (0: everything is trained,  {n_blocks}: only the head)"
        below.set_xlabel(ends, fontsize=12, labelpad=8)
        return sketch

    return _both(draw, name="depth", title=title, description=description)


def probe_curve(*, marks: Sequence[Mark], references: Sequence[Mark], title: str, description: str) -> Drawing:
    """Probe score by block, with intervals."""

    def draw(*, narrow: bool) -> _Sketch:
        width, height = (NARROW, 250) if narrow else (WIDE, 290)
        sketch = _Sketch(width, height)
        axes = sketch.axes(46, 12, 12, 48)
        last = max(mark.x for mark in marks)
        first = min(mark.x for mark in marks)
        axes.set_xlim(first - 0.4, last + 0.4)
        values = [value for m in marks for value in (m.score, m.low, m.high) if value is not None]
        low, high = _range(values)
        _score_axis(axes, *_range([*values, *_near(references, low, high)]))
        _reference_lines(axes, references, height=height - 60)
        _draw_marks(axes, marks, joined=True)
        step = max(1, -(-int(last - first + 1) // (10 if narrow else 14)))
        ticks = list(range(int(first), int(last) + 1, step))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("block" if narrow else "block   (0: the embeddings)", fontsize=12, labelpad=8)
        return sketch

    return _both(draw, name="probes", title=title, description=description)


def score_rows(*, name: str, marks: Sequence[Mark], title: str, description: str) -> Drawing:
    """Scores beside their names, one row each, best first as given."""

    def draw(*, narrow: bool) -> _Sketch:
        width = NARROW if narrow else WIDE
        row = 46 if narrow else 32
        height = row * len(marks) + 42
        sketch = _Sketch(width, height)
        axes = sketch.axes(8 if narrow else 208, 8, 56, 34)
        values = [value for m in marks for value in (m.score, m.low, m.high) if value is not None]
        low, high = _range(values)
        axes.set_xlim(low, high)
        axes.set_ylim(len(marks) - 0.35, -0.75 if narrow else -0.5)
        ticks = _percent_ticks(low, high, most=4 if not narrow else 5)
        axes.set_xticks(ticks, [_tick_label(tick, ticks) for tick in ticks])
        axes.set_yticks([])
        axes.grid(axis="x", color=RULE, linewidth=1)
        placed = [
            Mark(label=m.label, score=m.score, low=m.low, high=m.high, x=i, strong=m.strong, hollow=m.hollow)
            for i, m in enumerate(marks)
        ]
        _draw_marks(axes, placed, joined=False, vertical=False)
        for i, mark in enumerate(marks):
            style: dict[str, Any] = {"fontsize": 12, "color": INK, "fontweight": "bold" if mark.strong else "normal"}
            if narrow:
                axes.annotate(
                    _short(mark.label, 40),
                    (0, i - 0.4),
                    xycoords=("axes fraction", "data"),
                    ha="left",
                    va="center",
                    **style,
                )
            else:
                axes.annotate(
                    _short(mark.label),
                    (0, i),
                    xycoords=("axes fraction", "data"),
                    xytext=(-12, 0),
                    textcoords="offset points",
                    ha="right",
                    va="center",
                    **style,
                )
            axes.annotate(
                percent(mark.score),
                (1, i),
                xycoords=("axes fraction", "data"),
                xytext=(8, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                **style,
            )
        return sketch

    return _both(draw, name=name, title=title, description=description)


def learning_curve(*, marks: Sequence[Mark], title: str, description: str, noun: str = "rows") -> Drawing:
    """Probe score against the number of training rows (or what else they are called), on a logarithmic axis."""

    def draw(*, narrow: bool) -> _Sketch:
        from matplotlib.ticker import NullLocator

        width, height = (NARROW, 240) if narrow else (WIDE, 290)
        sketch = _Sketch(width, height)
        axes = sketch.axes(46, 12, 20, 48)
        axes.set_xscale("log")
        xs = [mark.x for mark in marks]
        axes.set_xlim(min(xs) / 1.25, max(xs) * 1.25)
        axes.xaxis.set_minor_locator(NullLocator())
        _score_axis(axes, *_range([v for m in marks for v in (m.score, m.low, m.high) if v is not None]))
        banded = [mark for mark in marks if mark.low is not None and mark.high is not None]
        if len(banded) > 1:
            axes.fill_between(
                [m.x for m in banded],
                [m.low or 0.0 for m in banded],
                [m.high or 0.0 for m in banded],
                color=ACCENT,
                alpha=0.13,
                linewidth=0,
                zorder=1,
            )
        _draw_marks(axes, marks, joined=True)
        shown = xs if len(xs) <= 6 else xs[:: -(-len(xs) // 6)]
        axes.set_xticks(shown, [f"{int(x):,}" for x in shown])
        axes.set_xlabel(f"training {noun}", fontsize=12, labelpad=8)
        return sketch

    return _both(draw, name="learning", title=title, description=description)
