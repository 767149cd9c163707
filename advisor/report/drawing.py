"""How figures are drawn: with matplotlib, as SVG markup for one page.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.report.fields import line
from advisor.report.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, MUTED, RULE, ACCENT, PAPER, PAGE = ("#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112")
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", PAPER: "--paper", PAGE: "--page"}

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


class Sketch:
    """A matplotlib figure in CSS pixels, with the house's style."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(self.figure)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Add axes with the given margins.

        Args:
            left: pixels between the left edge of the figure and the axes.
            top: pixels above the axes.
            right: pixels between the axes and the right edge.
            bottom: pixels below the axes.
        """
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
def figure_style() -> Iterator[None]:
    """While entered, matplotlib draws in the house's style."""
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


def short_label(label: str, limit: int = _LABEL_LIMIT) -> str:
    """The label in one line, cut to `limit` characters."""
    return line(label, limit=limit)


def draw_both(draw: Any, *, name: str, title: str, description: str) -> Drawing:
    """Draw a figure twice, wide and narrow, each under ids of its own.

    Args:
        draw: called with ``narrow`` true or false; gives a `Sketch`.
        name: of the figure, which its ids begin with.
        title: what a reader who does not see it is told it is.
        description: what they are told it shows.
    """
    with figure_style():
        wide = draw(narrow=False).markup(f"{name}-w", title, description)
        narrow = draw(narrow=True).markup(f"{name}-n", title, description)
    return Drawing(wide=wide, narrow=narrow)


def percent_ticks(low: float, high: float, *, most: int) -> list[float]:
    """At most `most` round values between `low` and `high`, to label an axis of shares with."""
    for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5):
        first = round(-(-low // step) * step, 6) + 0.0  # minus nothing is nothing
        ticks = []
        while first <= high + 1e-9:
            ticks.append(round(first, 6))
            first += step
        if len(ticks) <= most:
            return ticks
    return [low, high]


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """A tick in percent, with one decimal where any of the `ticks` needs it."""
    fine = any(abs(100 * tick - round(100 * tick)) > 1e-6 for tick in ticks)
    return f"{100 * value:.{1 if fine else 0}f}%"


def score_range(values: Sequence[float], *, least: float = 0.06) -> tuple[float, float]:
    """The ends of an axis that shows these scores with room around them, at least `least` apart."""
    low, high = min(values), max(values)
    lack = max(0.0, least - (high - low)) / 2
    pad = 0.10 * max(high - low, least)
    return max(-0.005, low - lack - pad), min(1.01, high + lack + pad)


def score_axis(axes: Axes, low: float, high: float, *, most: int = 6) -> None:
    """Let the vertical axis show scores: its ends, ticks in percent, and a line at each.

    Args:
        axes: to change.
        low: the score at the lower end, 0 to 1.
        high: the score at the upper end.
        most: ticks at most.
    """
    ticks = percent_ticks(low, high, most=most)
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, [tick_label(tick, ticks) for tick in ticks])
    axes.grid(axis="y", color=RULE, linewidth=1)


def draw_marks(
    axes: Axes, marks: Sequence[Mark], *, joined: bool, vertical: bool = True, gap: float | None = None
) -> None:
    """Draw scores as dots, with their intervals as bars.

    Args:
        axes: to draw on.
        marks: in the order in which they may be joined; a strong one gets a ring, a hollow one is not filled.
        joined: whether a line leads from each to the next.
        vertical: whether scores run upwards; else they run to the right.
        gap: the distance beyond which a line is dotted, because nothing was measured between; None for never.
    """
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


def near_references(references: Sequence[Mark], low: float, high: float) -> list[float]:
    """The baselines worth widening the axis for; those farther away would flatten the curve and are named instead."""
    reach = 0.35 * (high - low)
    return [ref.score for ref in references if low - reach <= ref.score <= high + reach]


def reference_lines(axes: Axes, references: Sequence[Mark], *, height: float) -> None:
    """Dashed baselines, each named at the right edge; names that would touch are moved apart."""
    low, high = axes.get_ylim()
    below = ", ".join(f"{short_label(r.label, 24)} {percent(r.score)}" for r in references if r.score < low)
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
            f"{short_label(ref.label, 24)} {percent(ref.score)}",
            (1, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=11,
            color=MUTED,
            zorder=6,
        )
