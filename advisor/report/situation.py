"""Sections on where the data stands: the four situations, the similarity scale, images near and far."""

from __future__ import annotations

from typing import Any

from advisor.data.thumbnails import EXAMPLES
from advisor.report import plots
from advisor.report.fields import interval, line, number, part, whole
from advisor.report.parts import (
    Fact,
    FigureOnPage,
    Run,
    Section,
    Strip,
    flat,
    make_table,
    sentence,
)
from advisor.report.wording import (
    NOT_MEASURED,
    any_value,
    capital,
    share,
)
from tuner.names import CLASSIC_RULES, SITUATIONS


def situation_section(run: Run) -> Section:
    size, similarity = part(run.advice, "size"), part(run.advice, "similarity")
    situation = part(run.advice, "situation")
    probabilities, axes = run.probabilities, part(situation, "axes")
    p_large = _first(
        axes.get("p_large"), size.get("p_large"), None if probabilities is None else probabilities[1] + probabilities[2]
    )
    p_similar = _first(
        axes.get("p_similar"),
        similarity.get("p_similar"),
        None if probabilities is None else probabilities[2] + probabilities[4],
    )
    if run.similarity_unmeasured and probabilities is None:
        p_similar = None
    number_ = whole(situation.get("number"))
    given = situation.get("candidates")
    possible = [n for value in (given if isinstance(given, (list, tuple)) else ()) if (n := whole(value)) in SITUATIONS]
    named = " or ".join(f"{n} ({SITUATIONS[n]})" for n in possible)
    if number_ in SITUATIONS:
        where = f"Most likely situation {number_}: {SITUATIONS[number_]}."
    elif probabilities is None:
        where = "No situation: one of the two axes was not measured." + (f" Still possible: {named}." if named else "")
    else:
        where = f"Between situations: {named}." if named else "No single situation is likely enough to name."
    description = (
        where
        + " "
        + (
            "; ".join(f"situation {n}, {SITUATIONS[n]}: {share(p)}" for n, p in probabilities.items()) + "."
            if probabilities
            else "No probabilities."
        )
    )
    figures = [
        FigureOnPage(
            title="The four situations",
            caption="The shaded square is as large as one cell; its part in a cell is that situation's probability."
            if p_similar is not None and p_large is not None
            else "The hatched band covers everything that is still possible: one axis was not measured.",
            drawing=plots.quadrant(
                p_large=_unit(p_large),
                p_similar=_unit(p_similar),
                probabilities=probabilities,
                likely=run.likely_situation,
                title=f"Where {run.name} stands among the four situations",
                description=description,
            ),
            table=make_table(
                "The four situations",
                (("Situation", False), ("Classic rule", False), ("Probability", True)),
                (
                    (
                        f"{n} · {SITUATIONS[n]}",
                        capital(CLASSIC_RULES[n]),
                        share(probabilities[n]) if probabilities else NOT_MEASURED,
                    )
                    for n in SITUATIONS
                ),
                mark=number_ - 1 if number_ in SITUATIONS else None,
            ),
        )
    ]
    value, bounds, cuts = (
        number(similarity.get("score")),
        interval(similarity.get("interval")),
        interval(similarity.get("cuts")),
    )
    if value is not None:
        said = f"{value:.2f}" + (f", 95% interval {bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else "")
        figures.append(
            FigureOnPage(
                title="Similarity to the pretraining data",
                caption="0 is the far end of the profile's ladder, 1 is the pretraining sample itself."
                + _zone_note(value, bounds, cuts, verdict=similarity.get("verdict")),
                drawing=plots.similarity_scale(
                    score=value,
                    interval=bounds,
                    cuts=cuts,
                    title="Similarity score on its scale",
                    description=f"Score {said}."
                    + (f" Dissimilar below {cuts[0]:.2f}, similar above {cuts[1]:.2f}." if cuts else ""),
                ),
                table=make_table(
                    "Similarity",
                    (("Quantity", False), ("Value", True)),
                    [
                        ("Score", f"{value:.3f}"),
                        ("95% interval", f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else NOT_MEASURED),
                        ("Dissimilar below", f"{cuts[0]:.3f}" if cuts else NOT_MEASURED),
                        ("Similar above", f"{cuts[1]:.3f}" if cuts else NOT_MEASURED),
                    ],
                ),
            )
        )
    source = line(similarity.get("source"), limit=200)
    facts = (
        Fact(
            label="Size",
            value=line(size.get("verdict"), limit=30) or NOT_MEASURED,
            note=sentence(line(size.get("why"), limit=3000)),
        ),
        Fact(
            label="Similarity",
            value=line(similarity.get("verdict"), limit=30) or NOT_MEASURED,
            note=sentence(line(similarity.get("why"), limit=3000)),
        ),
        Fact(
            label="Situation",
            value=f"{number_} · {SITUATIONS[number_]}"
            if number_ in SITUATIONS
            else "uncertain"
            if probabilities
            else NOT_MEASURED,
            note=f"{where} The quadrant is a rule of thumb: the starting point, overruled by what is measured.",
        ),
    )
    measures = [(name, any_value(item)) for name, item in flat(part(similarity, "measures"))]
    folded = []
    counted = [
        (run.noun_of(key), any_value(size[key]))
        for key in ("n_examples", "n_effective", "n_entities", "n_per_class_min", "n_duplicates", "p_large")
        if size.get(key) is not None
    ]
    if between := interval(size.get("interval")):  # of both criteria, on log scales
        counted.append(("place between the thresholds, 0 small to 1 large", f"{between[0]:.2f} to {between[1]:.2f}"))
    counted += [(name, any_value(item)) for name, item in flat({"by_type": size.get("by_type") or {}})]
    counted += [(f"threshold: {name}", any_value(item)) for name, item in flat(part(size, "thresholds"))]
    if counted:
        folded.append(make_table("What the size rests on", (("Quantity", False), ("Value", True)), counted))
    if measures or source:
        folded.append(
            make_table(
                "All similarity measures",
                (("Measure", False), ("Value", True)),
                [*([("source profile", source)] if source else []), *measures],
            )
        )
    return Section(
        anchor="situation",
        heading="Where this dataset stands",
        facts=facts,
        figures=tuple(figures),
        folded=tuple(folded),
    )


def examples_section(run: Run) -> Section:
    """The images nearest to the source and farthest from it, where their thumbnails were kept."""
    heading = "Images near and far"
    if run.thumbnails is None:
        note = f"The thumbnails in {EXAMPLES} are damaged and left out; a new run writes them again."
        return Section(anchor="examples", heading=heading, paragraphs=(note,))
    places = {
        "nearest": "Nearest to the source: these surprise the model least",
        "farthest": "Farthest from the source: these surprise the model most",
    }
    strips = tuple(
        Strip(
            caption=caption,
            pictures=tuple(
                (f"data:image/png;base64,{image.png}", line(image.class_name, limit=40))
                for image in run.thumbnails
                if image.place == place
            ),
        )
        for place, caption in places.items()
    )
    source = line(part(run.advice, "similarity").get("source"), limit=200)
    return Section(
        anchor="examples",
        heading=heading,
        paragraphs=(
            f"Of the images compared with {source or 'the source'}, by how surprising they are to the model's features "
            "at the resolution they were compared at, with their labels.",
        )
        if run.thumbnails
        else (),
        strips=tuple(strip for strip in strips if strip.pictures),
    )


def _zone_note(
    value: float, bounds: tuple[float, float] | None, cuts: tuple[float, float] | None, *, verdict: Any
) -> str:
    """Why the verdict is "uncertain" where the score and its interval lie in a zone with a name."""
    low, high = bounds or (value, value)
    if cuts is None or verdict != "uncertain" or (high >= cuts[0] and low <= cuts[1]):
        return ""
    zone = "dissimilar" if high < cuts[0] else "similar"
    return f" The score lies in the {zone} zone, but the verdict is uncertain, for the reason given above."


def _first(*values: Any) -> float | None:
    return next((found for value in values if (found := number(value)) is not None), None)


def _unit(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(0.0, value))
