"""The report's figures: the quadrant, the similarity scale, curves over depth and rows, scores in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.report.drawing import (
    ACCENT,
    INK,
    MUTED,
    PAGE,
    PAPER,
    RULE,
    Drawing,
    Mark,
    Sketch,
    draw_both,
    draw_marks,
    near_references,
    percent_ticks,
    reference_lines,
    score_axis,
    score_range,
    short_label,
    tick_label,
)
from advisor.report.wording import duration, percent, share
from tuner.names import SITUATIONS

WIDE, FULL, NARROW = 470, 960, 340
"""Widths in CSS pixels: half the page, the whole page, a phone."""


def quadrant(
    *,
    p_large: float | None,
    p_similar: float | None,
    probabilities: Mapping[int, float] | None,
    likely: int | None,
    title: str,
    description: str,
) -> Drawing:
    """Draw the four situations with this dataset in them.

    A shaded square as large as one cell slides between them: along by the probability of "similar", up by that of
    "large". What of it lies in a cell is that situation's probability, so that area is uncertainty. An axis that was
    not measured stretches the shade over its whole length.

    Args:
        p_large: probability that the data is large; None where it was not measured.
        p_similar: probability that the data is similar; None where it was not measured.
        probabilities: of the situations by their numbers, 1 to 4; None to show none.
        likely: number of the situation set in bold; None for none.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
    """

    def draw(*, narrow: bool) -> Sketch:
        from matplotlib.patches import FancyBboxPatch, Rectangle

        width, height = (NARROW, 330) if narrow else (WIDE, 420)
        sketch = Sketch(width, height)
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

    return draw_both(draw, name="quadrant", title=title, description=description)


def similarity_scale(
    *,
    score: float,
    interval: tuple[float, float] | None,
    cuts: tuple[float, float] | None,
    title: str,
    description: str,
) -> Drawing:
    """Draw the similarity score on its scale from 0 (the far end of the ladder) to 1 (the source itself).

    Args:
        score: where the dot stands; it may lie outside the scale, which is then drawn longer.
        interval: of the score; None to draw none.
        cuts: the scores between which the verdict is uncertain; None to draw no zones.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
    """

    def draw(*, narrow: bool) -> Sketch:
        from matplotlib.patches import Rectangle

        width = NARROW if narrow else WIDE
        sketch = Sketch(width, 84)
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

    return draw_both(draw, name="similarity", title=title, description=description)


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
    """Draw the score by freeze depth with error bars above, seconds below, and question marks at unmeasured depths.

    Args:
        measured: scores of the search, joined by a line; ``x`` is the depth.
        predicted: scores expected by the advice, not joined.
        unmeasured: depths without a score.
        references: baselines, as dashed lines.
        seconds: to train, by depth; empty to draw none.
        n_blocks: blocks of the model.
        searched: the range of depths to tint; None, or a range of all depths, tints nothing.
        advised: the depth that is marked as advised; None for none.
        score_name: what the scores are.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
    """
    every = [*measured, *predicted]

    def draw(*, narrow: bool) -> Sketch:
        width = NARROW if narrow else FULL
        cost_height = 96 if seconds else 0
        score_height = 250 if every else 110
        top, bottom = 34, 48
        sketch = Sketch(width, top + score_height + cost_height + bottom)
        left, right = (46, 8) if narrow else (56, 20)
        axes = sketch.axes(left, top, right, bottom + cost_height)
        edge = (-0.55, n_blocks + 0.55)
        axes.set_xlim(*edge)
        values = [value for m in every for value in (m.score, m.low, m.high) if value is not None]
        if values:
            low, high = score_range(values)
            score_axis(axes, *score_range([*values, *near_references(references, low, high)]))
            reference_lines(axes, references, height=score_height)
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
        draw_marks(axes, predicted, joined=False)
        draw_marks(axes, measured, joined=True, gap=1)
        at_left = advised is None or advised > (0.45 if narrow else 0.2) * n_blocks
        if every:
            sketch.figure.text(
                4 / width if at_left else 1 - right / width,
                1 - 14 / sketch.height,
                short_label(score_name, 34),
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

    return draw_both(draw, name="depth", title=title, description=description)


def probe_curve(*, marks: Sequence[Mark], references: Sequence[Mark], title: str, description: str) -> Drawing:
    """Draw probe scores by block, with intervals.

    Args:
        marks: the scores; ``x`` is the block.
        references: baselines, as dashed lines.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
    """

    def draw(*, narrow: bool) -> Sketch:
        width, height = (NARROW, 250) if narrow else (WIDE, 290)
        sketch = Sketch(width, height)
        axes = sketch.axes(46, 12, 12, 48)
        last = max(mark.x for mark in marks)
        first = min(mark.x for mark in marks)
        axes.set_xlim(first - 0.4, last + 0.4)
        values = [value for m in marks for value in (m.score, m.low, m.high) if value is not None]
        low, high = score_range(values)
        score_axis(axes, *score_range([*values, *near_references(references, low, high)]))
        reference_lines(axes, references, height=height - 60)
        draw_marks(axes, marks, joined=True)
        step = max(1, -(-int(last - first + 1) // (10 if narrow else 14)))
        ticks = list(range(int(first), int(last) + 1, step))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("block" if narrow else "block   (0: the embeddings)", fontsize=12, labelpad=8)
        return sketch

    return draw_both(draw, name="probes", title=title, description=description)


def score_rows(*, name: str, marks: Sequence[Mark], title: str, description: str) -> Drawing:
    """Draw scores beside their names, one row each, best first as given.

    Args:
        name: of the figure, which its ids begin with.
        marks: the scores.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
    """

    def draw(*, narrow: bool) -> Sketch:
        width = NARROW if narrow else WIDE
        row = 46 if narrow else 32
        height = row * len(marks) + 42
        sketch = Sketch(width, height)
        axes = sketch.axes(8 if narrow else 208, 8, 56, 34)
        values = [value for m in marks for value in (m.score, m.low, m.high) if value is not None]
        low, high = score_range(values)
        axes.set_xlim(low, high)
        axes.set_ylim(len(marks) - 0.35, -0.75 if narrow else -0.5)
        ticks = percent_ticks(low, high, most=4 if not narrow else 5)
        axes.set_xticks(ticks, [tick_label(tick, ticks) for tick in ticks])
        axes.set_yticks([])
        axes.grid(axis="x", color=RULE, linewidth=1)
        placed = [
            Mark(label=m.label, score=m.score, low=m.low, high=m.high, x=i, strong=m.strong, hollow=m.hollow)
            for i, m in enumerate(marks)
        ]
        draw_marks(axes, placed, joined=False, vertical=False)
        for i, mark in enumerate(marks):
            style: dict[str, Any] = {"fontsize": 12, "color": INK, "fontweight": "bold" if mark.strong else "normal"}
            if narrow:
                axes.annotate(
                    short_label(mark.label, 40),
                    (0, i - 0.4),
                    xycoords=("axes fraction", "data"),
                    ha="left",
                    va="center",
                    **style,
                )
            else:
                axes.annotate(
                    short_label(mark.label),
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

    return draw_both(draw, name=name, title=title, description=description)


def learning_curve(*, marks: Sequence[Mark], title: str, description: str, noun: str = "rows") -> Drawing:
    """Draw probe scores against the number of training rows, on a logarithmic axis.

    Args:
        marks: the scores; ``x`` is the number of rows.
        title: what a reader who does not see the figure is told it is.
        description: what they are told it shows.
        noun: what the rows are called.
    """

    def draw(*, narrow: bool) -> Sketch:
        from matplotlib.ticker import NullLocator

        width, height = (NARROW, 240) if narrow else (WIDE, 290)
        sketch = Sketch(width, height)
        axes = sketch.axes(46, 12, 20, 48)
        axes.set_xscale("log")
        xs = [mark.x for mark in marks]
        axes.set_xlim(min(xs) / 1.25, max(xs) * 1.25)
        axes.xaxis.set_minor_locator(NullLocator())
        score_axis(axes, *score_range([v for m in marks for v in (m.score, m.low, m.high) if v is not None]))
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
        draw_marks(axes, marks, joined=True)
        shown = xs if len(xs) <= 6 else xs[:: -(-len(xs) // 6)]
        axes.set_xticks(shown, [f"{int(x):,}" for x in shown])
        axes.set_xlabel(f"training {noun}", fontsize=12, labelpad=8)
        return sketch

    return draw_both(draw, name="learning", title=title, description=description)
