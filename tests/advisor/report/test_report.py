"""The report: complete for every run, the same every time, safe with any string, and open about what is missing."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from advisor.report import render_html, render_markdown, write_report
from advisor.report.page import make_page
from advisor.report.parts import same_candidate
from advisor.report.wording import candidate_words
from tuner.errors import DataError, MissingFileError

Json = dict[str, Any]


def make_advice(*, n_blocks: int = 7, n_classes: int = 6, name: str = "trec6") -> Json:
    """What `advisor recommend` writes for a small question set."""
    blocks = [0.612, 0.668, 0.701, 0.724, 0.752, 0.791, 0.742]
    curve = [blocks[min(6, round(i * 6 / max(1, n_blocks - 1)))] for i in range(n_blocks)]
    probes: list[Json] = [
        {"features": f"block_{i}", "block": i, "score": s, "interval": [s - 0.035, s + 0.033]}
        for i, s in enumerate(curve)
    ]
    variants = {
        "embeddings": 0.612,
        "second_to_last": 0.791,
        "last": 0.742,
        "weighted_last_four": 0.786,
        "concat_last_four": 0.803,
        "weighted_all": 0.778,
    }
    probes += [
        {"features": key, "block": None, "score": s, "interval": [s - 0.034, s + 0.032]} for key, s in variants.items()
    ]
    return {
        "schema": 1,
        "model": {
            "id": "all-MiniLM-L6-v2",
            "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "n_blocks": n_blocks,
            "blocks": ["embeddings", *(f"layer {i}" for i in range(1, n_blocks))],
            "parameters": 22713216,
        },
        "data": {
            "name": name,
            "kind": "text",
            "task": "sequence_classification",
            "n_examples": 500,
            "n_classes": n_classes,
            "columns": {"text": "text", "label": "label", "group": None},
            "splits": {"train": 320, "validation": 80, "test": 100},
            "truncated": 0.004,
            "fingerprint": "9f2c7a41d0",
            "class_counts": {f"class {i}": 500 // n_classes for i in range(n_classes)},
        },
        "metric": "accuracy",
        "size": {
            "verdict": "small",
            "n_examples": 500,
            "n_per_class_min": 8,
            "n_duplicates": 3,
            "p_large": 0.12,
            "learning_curve": [
                {"n": 40, "score": 0.588, "interval": [0.53, 0.64]},
                {"n": 80, "score": 0.655, "interval": [0.61, 0.70]},
                {"n": 160, "score": 0.702, "interval": [0.66, 0.74]},
                {"n": 320, "score": 0.742, "interval": [0.71, 0.776]},
            ],
            "why": "500 examples < 1,000, and the smallest class has 8 < 64: small; doubling the rows last gained "
            "4.0 points, more than one standard error",
        },
        "similarity": {
            "verdict": "uncertain",
            "score": 0.57,
            "interval": [0.48, 0.66],
            "cuts": [0.5, 0.75],
            "p_similar": 0.36,
            "source": "wikitext2+books for all-MiniLM-L6-v2 (stage 1 proxy)",
            "measures": {
                "excess_surprisal": {"mean": 0.34, "per_block": [0.2, 0.31, 0.33, 0.38, 0.3]},
                "frechet_infinity": {"value": 0.44, "interval": [0.4, 0.5]},
                "trigram_jsd": 0.19,
                "support_share": 0.41,
            },
            "why": "the questions lie 34 % of the way from the source to random letters; the profile covers "
            "stage 1 only, and stage 2 held 77 million WikiAnswers questions",
        },
        "situation": {
            "number": None,
            "name": None,
            "candidates": [3, 4],
            "probabilities": {"1": 0.077, "2": 0.043, "3": 0.563, "4": 0.317},
            "axes": {"p_large": 0.12, "p_similar": 0.36},
        },
        "strategy": {
            "name": "freeze_part",
            "number": 2,
            "start": "pretrained",
            "features": None,
            "classic_rule": "small and dissimilar: freeze a part, with the depth chosen with care",
            "decided_by": "rule",
            "reasons": [
                "500 examples in 6 classes are few for 22.7 million weights.",
                "The last block's probe (74.2%) is 4.9 points below block 5's (79.1%): the last block "
                "has specialised away from this task, so it should be trained.",
                "No depth but head only is measured yet; three quarters is the documented default.",
            ],
        },
        "freeze": {
            "recommended": round(0.75 * n_blocks),
            "search": [0, n_blocks],
            "predicted_by_depth": [
                {
                    "frozen_blocks": d,
                    "score": 0.742 if d == n_blocks else None,
                    "interval": [0.707, 0.776] if d == n_blocks else None,
                    "why": "head-only probe, cross-validated" if d == n_blocks else "not measured",
                }
                for d in range(n_blocks + 1)
            ],
        },
        "probes": probes,
        "baselines": {
            "majority": {"score": 0.226, "interval": [0.19, 0.265]},
            "tfidf_linear": {"score": 0.668, "interval": [0.626, 0.709]},
            "best_probe": {"block": 5, "features": "block_5", "score": 0.791, "interval": [0.756, 0.824]},
        },
        "warnings": [
            "The smallest class has 8 examples: its score is a guess.",
            "3 exact duplicates were counted once.",
        ],
        "next_steps": [
            "tune the freeze depth: advisor tune trec6/train.csv",
            "Label more rows of the two smallest classes.",
        ],
        "next_command": "advisor tune trec6/train.csv --text text --label label --budget 5m",
        "seconds": {"load": 0.4, "embed": 6.2, "similarity": 1.1, "probe": 3.9, "total": 12.3},
        "versions": {"transfer-advisor": "0.1.0", "torch": "2.14.1", "transformers": "5.23.0", "optuna": "5.0.0"},
        "seed": 0,
    }


def make_class(name: str, *, n: int, n_predicted: int, hits: int) -> Json:
    """How a class of the test split fares."""
    return {
        "name": name,
        "n": n,
        "n_predicted": n_predicted,
        "recall": hits / n if n else None,
        "interval": [hits / n - 0.1, hits / n + 0.01] if n else None,
        "precision": hits / n_predicted if n_predicted else None,
        "f1": 2 * hits / (n + n_predicted) if n else None,
    }


def make_tuning(*, n_blocks: int = 7, winner: int = 4) -> Json:
    """What `advisor tune` adds."""
    means = [0.9052, 0.8985, 0.901, 0.9048, 0.9055, 0.891, 0.8275, 0.7781]
    times = [61.0, 32.5, 27.8, 23.1, 17.0, 12.4, 7.7, 0.9]
    at = [round(i * 7 / n_blocks) for i in range(n_blocks + 1)]
    candidates = [
        {
            "strategy": "head_only" if d == n_blocks else "train_all" if d == 0 else "freeze_part",
            "start": "pretrained",
            "frozen_blocks": d,
            "features": None,
            "augmentation": None,
            "mean": means[at[d]],
            "interval": [means[at[d]] - 0.031, means[at[d]] + 0.027],
            "below_best": 0.9055 - means[at[d]],
            "standard_error": 0.011,
            "sd": 0.0065 if d in (0, 3, winner) else None,
            "n": 3 if d in (0, 3, winner) else 1,
            "seconds": times[at[d]],
        }
        for d in range(n_blocks + 1)
        if d != 1 or n_blocks < 3
    ]
    by_depth = [
        {key: c[key] for key in ("frozen_blocks", "mean", "sd", "n", "interval", "seconds")} for c in candidates
    ]
    candidates += [
        {
            "strategy": "feature_based",
            "start": "pretrained",
            "frozen_blocks": None,
            "features": "concat_last_four",
            "augmentation": None,
            "mean": 0.8125,
            "sd": None,
            "n": 1,
            "seconds": 1.4,
        },
        {
            "strategy": "train_all",
            "start": "scratch",
            "frozen_blocks": 0,
            "features": None,
            "augmentation": None,
            "mean": 0.675,
            "sd": None,
            "n": 1,
            "seconds": 66.0,
        },
    ]
    chosen = next(c for c in candidates if c["frozen_blocks"] == winner and c["start"] == "pretrained")
    return {
        "schema": 1,
        "metric": "accuracy",
        "n_blocks": n_blocks,
        "seed": 0,
        "candidates": candidates,
        "by_depth": by_depth,
        "winner": {
            "candidate": {
                key: chosen[key] for key in ("strategy", "start", "frozen_blocks", "features", "augmentation")
            },
            "params": {"learning_rate": 1.2e-4, "head_ratio": 8.3, "epochs": 6},
            "validation": {"mean": 0.9055, "sd": 0.0065, "seeds": [0, 1, 2]},
            "test": {
                "score": 0.904,
                "interval": [0.878, 0.93],
                "metrics": {
                    "accuracy": {"score": 0.904, "interval": [0.878, 0.93]},
                    "macro_f1": {"score": 0.811, "interval": [0.77, 0.85]},
                    "balanced_accuracy": {"score": 0.796, "interval": [0.75, 0.84]},
                },
                "by_class": [
                    make_class("common", n=90, n_predicted=96, hits=88),
                    make_class("rare", n=10, n_predicted=4, hits=3),
                    make_class("unseen", n=0, n_predicted=0, hits=0),
                ],
            },
        },
        "calibration": {
            "temperature": 1.83,
            "n": 80,
            "unit": "row",
            "why": None,
            "n_test": 100,
            "bins": 15,
            "ece_before": 0.093,
            "ece_before_interval": [0.06, 0.13],
            "ece_after": 0.034,
            "ece_after_interval": [0.01, 0.07],
            "ece_by_chance": 0.03,
            "confidence_before": 0.97,
            "confidence_after": 0.91,
            "accuracy": 0.904,
        },
        "changed_from_advice": {
            "from": {"strategy": "freeze_part", "frozen_blocks": round(0.75 * n_blocks)},
            "to": {"strategy": "freeze_part", "frozen_blocks": winner},
            "why": "4 of 7 frozen reached 90.6 % over 3 seeds against 89.1 %",
        },
        "baselines": {"majority": 0.226, "tfidf_linear": {"score": 0.671, "interval": [0.6, 0.74]}},
        "trials": {"complete": 14, "pruned": 5, "failed": 0},
        "confirmations": [
            {
                "candidate": {"strategy": "freeze_part", "frozen_blocks": winner},
                "seed": 1,
                "score": 0.912,
                "seconds": 17.2,
            },
            {
                "candidate": {"strategy": "freeze_part", "frozen_blocks": winner},
                "seed": 2,
                "score": 0.899,
                "seconds": 16.9,
            },
            {"candidate": {"strategy": "train_all", "frozen_blocks": 0}, "seed": 1, "score": 0.906, "seconds": 60.2},
        ],
        "budget": {"asked_s": 300.0, "used_s": 287.4},
        "stopped_because": "budget",
        "model_dir": "model",
        "split_sizes": {"train": 320, "validation": 80, "test": 100},
        "prefix": {
            "cache": True,
            "why": "logits and gradients agreed with the full model on one batch",
            "seconds": 9.0,
        },
        "warnings": [],
    }


def unmeasured(advice: Json) -> Json:
    """The same advice for a model without a source profile."""
    advice["similarity"] = {
        "verdict": "unmeasured",
        "score": None,
        "interval": None,
        "source": None,
        "measures": {},
        "cuts": None,
        "p_similar": None,
        "why": "no profile; measure it: advisor source build",
    }
    advice["situation"] = {
        "number": None,
        "name": None,
        "candidates": [3, 4],
        "probabilities": None,
        "axes": {"p_large": 0.12, "p_similar": None},
    }
    return advice


class Reader(HTMLParser):
    """What a browser would see: elements with their attributes, ids, and the text outside of style."""

    VOID = ("meta", "link", "br", "use", "path")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text = ""
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and (not self.stack or self.stack.pop() != tag):
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.stack:
            self.text += " " + " ".join(data.split())

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def tuned() -> str:
    return render_html(make_advice(), tuning=make_tuning())


@pytest.fixture(scope="module")
def recommended() -> str:
    return render_html(make_advice())


def test_the_answer_comes_first_and_carries_its_number(tuned: str) -> None:
    page = Reader(tuned)
    heading = page.words.index("Freeze the first 4 of 7 blocks and train the rest: 90.4% accuracy on the test split.")
    assert heading < page.words.index("The four situations")
    assert "lies between 87.8% and 93.0%" in page.words
    assert "The advice was 5 of 7 blocks frozen; tuning chose 4 of 7 blocks frozen." in page.words
    assert "14 trials, 5 pruned" in page.words


def test_an_untuned_report_is_complete_and_claims_no_score_it_does_not_have(recommended: str) -> None:
    page = Reader(recommended)
    assert "a first choice by rule of thumb, not yet measured." in page.words
    assert "advisor tune trec6/train.csv --text text --label label --budget 5m" in page.words
    assert "4 of 7 blocks frozen not measured" in page.words
    assert "head only 74.2% (70.7–77.6%)" in page.words
    assert "90.4%" not in page.words


def test_a_tuned_report_no_longer_says_to_tune(tuned: str) -> None:
    page = Reader(tuned)
    assert "advisor tune" not in page.words
    assert "advisor predict model NEW_DATA" in page.words


def test_probabilities_are_in_the_figure_and_in_its_table(tuned: str) -> None:
    page = Reader(tuned)
    assert (
        "3 · small and dissimilar Freeze a part, with the depth chosen with care, and augment the data 56%"
        in page.words
    )
    drawing = re.search(r'<svg[^>]*aria-labelledby="quadrant-w-title.*?</svg>', tuned, re.S)
    assert drawing is not None
    assert {"8%", "4%", "56%", "32%"} <= set(re.findall(r">([^<>]+)</text>", drawing[0]))


def test_the_shaded_square_covers_each_cell_by_its_probability(tuned: str) -> None:
    """The square is one cell large; p(large) = .12 and p(similar) = .36 put 56 % of it into the lower left cell."""
    drawing = re.search(r'<svg[^>]*aria-labelledby="quadrant-w-title.*?</svg>', tuned, re.S)
    assert drawing is not None
    root = ElementTree.fromstring(drawing[0])
    paths = [
        element
        for element in root.iter("{http://www.w3.org/2000/svg}path")
        if "opacity: 0.16" in element.get("style", "")
    ]
    assert len(paths) == 1
    numbers = [float(value) for value in re.findall(r"-?[\d.]+", paths[0].get("d", ""))]
    xs, ys = numbers[0::2], numbers[1::2]
    left, right, top, bottom = 26.0, 470 - 4.0, 4.0, 420 - 26.0  # the quadrant's box on the 470 by 420 drawing
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    share_left = (middle_x - min(xs)) / (max(xs) - min(xs))
    share_lower = (max(ys) - middle_y) / (max(ys) - min(ys))
    assert share_left * share_lower == pytest.approx(0.64 * 0.88, abs=0.01)


def test_unmeasured_similarity_gives_no_situation() -> None:
    page = Reader(render_html(unmeasured(make_advice())))
    assert (
        "No situation: one of the two axes was not measured. Still possible: 3 (small and dissimilar) or 4"
        in page.words
    )
    assert "Situation Not known similarity not measured" in page.words
    assert "Similarity Unmeasured" in page.words.replace("unmeasured", "Unmeasured")
    assert "Similarity score on its scale" not in page.words
    assert not re.search(r"situation [1-4] \(", page.words)


def test_the_classic_rule_stands_beside_what_was_measured(tuned: str) -> None:
    words = Reader(tuned).words
    assert "4 · small and similar 32% Train only the classifier 77.8% (head only, validation)" in words
    assert (
        "1 · large and dissimilar 8% Train the whole network on the new data 90.5% (everything trained, validation)"
        in words
    )

    advice = make_advice()
    advice["situation"]["probabilities"] = {"1": 0.02, "2": 0.04, "3": 0.14, "4": 0.8}
    advice["situation"]["number"] = 4
    words = Reader(render_html(advice, tuning=make_tuning())).words
    assert (
        "the rule of situation 4 (train only the classifier) reached 77.8% (head only, validation); "
        "the winner has +12.7 points on it." in words
    )


def test_every_figure_has_its_numbers_and_a_name(tuned: str) -> None:
    page = Reader(tuned)
    figures = sum(tag == "figure" for tag, _ in page.elements)
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert figures == 7
    assert len(drawings) == 2 * figures  # one for wide pages, one for narrow ones
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert set((attributes["aria-labelledby"] or "").split()) <= ids
    assert tuned.count("<summary>The numbers</summary>") == figures


def test_ids_are_unique_and_every_reference_is_met(tuned: str) -> None:
    page = Reader(tuned)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)", tuned)) | set(re.findall(r'href="#([^"]+)"', tuned))
    assert wanted
    assert wanted <= set(ids)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(tuned: str) -> None:
    page = Reader(tuned)
    assert not page.unbalanced
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "img", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert str(policy[0]).startswith("default-src 'none'")
    assert "@import" not in tuned
    assert re.findall(r"url\((?!#)", tuned) == []


def test_figures_follow_light_and_dark(tuned: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", tuned, re.S):
        assert "var(--" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", svg), "a colour that does not follow the page"
        assert "DejaVu" not in svg
        assert "<style" not in svg, "matplotlib's style sheet would apply to the whole page"


def test_the_same_input_gives_the_same_bytes(tuned: str) -> None:
    assert render_html(make_advice(), tuning=make_tuning()) == tuned
    assert render_markdown(make_advice(), tuning=make_tuning()) == render_markdown(make_advice(), tuning=make_tuning())
    assert not re.search(r"20\d\d-\d\d-\d\d", tuned)


HOSTILE = '<script>alert("1")</script> | $5 and $6 `x` *b* [a](javascript:b) &amp; </svg> \x00\x1b[31m\ud800 \u202eevil'


def spoil(value: Any) -> Any:
    """Every string of a record, keys of class counts included, replaced by a hostile one."""
    if isinstance(value, dict):
        return {
            key: spoil(item) if key != "class_counts" else {HOSTILE + str(i): n for i, n in enumerate(item.values())}
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [spoil(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_strings_are_data_in_html() -> None:
    advice, tuning = spoil(make_advice()), spoil(make_tuning())
    advice["probes"] = [{"features": HOSTILE, "block": None, "score": 0.5, "interval": [0.4, 0.6]}]
    html = render_html(advice, tuning=tuning)
    page = Reader(html)
    assert not page.unbalanced
    assert all(tag != "script" for tag, _ in page.elements)
    assert "$5 and $6 `x` *b*" in page.words
    assert "&amp; </svg>" in page.words  # shown as written
    assert not set(html) & set("\x00\x1b\ud800\u202e")
    html.encode()
    drawn = [text for svg in re.findall(r"<svg.*?</svg>", html, re.S) for text in re.findall(r">([^<>]+)</text>", svg)]
    assert any("&lt;script&gt;" in text for text in drawn)


def test_no_situation_is_singled_out_where_all_are_alike() -> None:
    advice = make_advice()
    advice["situation"]["probabilities"] = {"1": 0.28, "2": 0.28, "3": 0.22, "4": 0.22}
    words = Reader(render_html(advice, tuning=make_tuning())).words
    assert "Situation Uncertain none of the four is above 28%" in words
    assert "the rule of situation" not in words
    assert "most likely" not in words


def test_a_variant_that_is_one_block_is_in_both_figures() -> None:
    advice = make_advice()
    advice["probes"] = [p for p in advice["probes"] if p["features"] not in ("block_6", "last")]
    advice["probes"].append({"features": "last", "block": 6, "score": 0.7123, "interval": [0.7, 0.72]})
    words = Reader(render_html(advice)).words
    assert "block 6 71.2% 70.0–72.0%" in words
    assert "last block 71.2% 70.0–72.0%" in words


def test_an_uncertain_verdict_on_a_clear_score_is_explained() -> None:
    note = "The score lies in the dissimilar zone, but the verdict is uncertain"
    advice = make_advice()
    assert note not in Reader(render_html(advice)).words
    advice["similarity"] |= {"score": 0.3, "interval": [0.28, 0.33]}
    assert note in Reader(render_html(advice)).words


def test_dollars_are_no_mathematics() -> None:
    advice = make_advice()
    advice["probes"] = [{"features": "cost $5 and $6", "block": None, "score": 0.5, "interval": [0.4, 0.6]}]
    assert "cost $5 and $6</text>" in render_html(advice)


def test_strings_are_data_in_markdown() -> None:
    text = render_markdown(spoil(make_advice()), tuning=spoil(make_tuning()))
    outside = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", text, flags=re.S | re.M)
    assert "<" not in outside
    assert r"\$5 and \$6" in outside
    assert not re.search(r"(?<!\\)\$", outside)
    assert "](" not in outside.replace(r"\]", "")
    tables = re.findall(r"(?:^\|.*\n)+", outside, re.M)
    assert len(tables) >= 8
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1, table
    text.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("# heading", r"\# heading"),
        ("1. item", r"1\. item"),
        ("- item", r"\- item"),
        ("+ item", r"\+ item"),
        ("--- ", r"\---"),
        ("> quote", "&gt; quote"),
        ("~~~", r"\~\~\~"),
        ("a_b|c", r"A\_b\|c"),
        ("a\n# b", r"A \# b"),
    ],
)
def test_markdown_does_not_act_on_a_name(value: str, shown: str) -> None:
    advice = make_advice()
    advice["warnings"] = [value]
    assert f"## Warnings\n\n- {shown}\n" in render_markdown(advice)


def test_a_command_full_of_backticks_stays_in_its_fence() -> None:
    advice = make_advice()
    advice["next_command"] = "advisor tune 'a```b' --text x\nrm"
    assert "````sh\nadvisor tune 'a```b' --text x rm\n````" in render_markdown(advice)


def test_markdown_tells_what_html_tells(tuned: str) -> None:
    text = render_markdown(make_advice(), tuning=make_tuning())
    assert "**Freeze the first 4 of 7 blocks and train the rest: 90.4% accuracy on the test split.**" in text
    assert "`░░░░███ ▶` 4 of 7 blocks frozen, 3 trained, then the head." in text
    assert "| **4 of 7 blocks frozen** | **90.5%** |" in text
    assert "\n\n\n" not in text
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", tuned)
    assert [row.removeprefix("## ") for row in text.splitlines() if row.startswith("## ")] == headings


def prune(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of every key in a record."""
    if not isinstance(value, dict):
        return []
    return [p for key, item in value.items() for p in ((*path, key), *prune(item, (*path, key)))]


@pytest.mark.parametrize("replacement", [None, [], "text", -1, {}, float("nan")])
def test_any_part_may_be_null_or_foreign(replacement: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words only: the figures are replaced by a stand-in, and one report is made for every key of both records."""
    from advisor.report import plots

    for name in ("quadrant", "similarity_scale", "depth_curve", "probe_curve", "score_rows", "learning_curve"):
        monkeypatch.setattr(plots, name, lambda **_: plots.Drawing(wide="", narrow=""))
    records = {"advice": make_advice(), "tuning": make_tuning()}
    for path in prune(records):
        if len(path) < 2:
            continue
        spoiled = copy.deepcopy(records)
        inner: Any = spoiled
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = replacement
        assert "<h1>" in render_html(spoiled["advice"], tuning=spoiled["tuning"]), path


@pytest.mark.parametrize("blocks", [10**9, -5, 1e300])
def test_a_number_of_blocks_that_no_model_has_is_not_drawn(tmp_path: Path, blocks: float) -> None:
    advice = make_advice()
    advice["model"]["n_blocks"] = blocks
    assert len(render_html(advice)) < 1_000_000
    (tmp_path / "advice.json").write_text(json.dumps(advice))
    with pytest.raises(DataError, match=r"advice\.json in .* says that the model has .* blocks"):
        write_report(tmp_path)
    (tmp_path / "advice.json").write_text(json.dumps(make_advice()))
    (tmp_path / "tuning.json").write_text(json.dumps(make_tuning() | {"n_blocks": blocks}))
    with pytest.raises(DataError, match=r"tuning\.json in .* says that the model has .* blocks"):
        write_report(tmp_path)


@pytest.mark.parametrize(("n_blocks", "n_classes"), [(2, 2), (40, 151)])
def test_small_and_large_models_and_label_sets(n_blocks: int, n_classes: int) -> None:
    name = "a name of a dataset that somebody exported from a warehouse and never shortened 2"
    page = Reader(
        render_html(
            make_advice(n_blocks=n_blocks, n_classes=n_classes, name=name),
            tuning=make_tuning(n_blocks=n_blocks, winner=n_blocks - 1),
        )
    )
    assert f"Freeze the first {n_blocks - 1} of {n_blocks} blocks" in page.words
    assert page.words.count("class 1 ") >= 1
    assert f"Classes, {n_classes}" in page.words
    bar = [attributes for tag, attributes in page.elements if attributes.get("class") in ("frozen", "trained")]
    assert len(bar) == n_blocks + 2  # the bar and its legend


def test_drawing_survives_bare_and_extreme_numbers() -> None:
    advice = make_advice()
    advice["probes"] = [
        {"features": "block_0", "block": 0, "score": 1.0, "interval": [1.0, 1.0]},
        {"features": "last", "block": None, "score": 0.0, "interval": None},
    ]
    advice["size"]["learning_curve"] = [{"n": 16, "score": 1.0, "interval": None}]
    advice["similarity"] |= {"score": -0.2, "interval": [-0.6, 1.4], "cuts": None}
    advice["freeze"] |= {
        "recommended": 0,
        "search": [0, 3],
        "predicted_by_depth": [
            {"frozen_blocks": d, "score": None, "interval": None, "why": "not measured"} for d in range(8)
        ],
    }
    advice["strategy"]["name"] = "train_all"
    advice["baselines"] = {"majority": None, "tfidf_linear": None, "best_probe": None}
    words = Reader(render_html(advice)).words
    assert "Train the whole network, starting from the pretrained weights" in words
    assert "no depth measured yet" in words


@pytest.mark.parametrize(
    ("candidate", "answer"),
    [
        (
            {"strategy": "feature_based", "features": "concat_last_four", "frozen_blocks": None},
            "Keep the network fixed and train a classifier on its last four blocks, side by side",
        ),
        ({"strategy": "head_only", "frozen_blocks": 7}, "Freeze the whole network and train only a classifier on top"),
        (
            {"strategy": "train_all", "start": "scratch", "frozen_blocks": 0},
            "Train the whole network from random weights, as a control",
        ),
    ],
)
def test_every_kind_of_winner_has_its_sentence(candidate: Json, answer: str) -> None:
    tuning = make_tuning()
    tuning["winner"]["candidate"] = candidate
    assert f"{answer}: 90.4% accuracy" in Reader(render_html(make_advice(), tuning=tuning)).words


def depth_section(tuning: Json) -> tuple[str, int | None]:
    """What is said of the depths, and the row of their table that is marked."""
    page = make_page(make_advice(), tuning=tuning)
    section = next(section for section in page.sections if section.anchor == "depth")
    return " ".join(section.paragraphs), section.figures[0].table.mark


@pytest.mark.parametrize(
    ("candidate", "mark"),
    [
        ({"strategy": "freeze_part", "frozen_blocks": 5}, 5),
        ({"strategy": "head_only", "frozen_blocks": 7}, 7),
        ({"strategy": "feature_based", "features": "concat_last_four", "frozen_blocks": None}, None),
        ({"strategy": "train_all", "start": "scratch", "frozen_blocks": 0}, None),
    ],
)
def test_the_depth_that_won_is_marked_where_a_depth_won(candidate: Json, mark: int | None) -> None:
    tuning = make_tuning()
    tuning["winner"]["candidate"] = candidate
    assert depth_section(tuning)[1] == mark


@pytest.mark.parametrize(
    ("advised", "searched", "said"),
    [([2, 7], [0, 7], "widened from 2–7 to 0–7"), ([0, 0], [0, 0], None)],
)
def test_a_range_was_widened_where_the_search_left_its_own(advised: Json, searched: Json, said: str | None) -> None:
    """A search that was limited to a strategy has a narrower range than the advice, which no control changed."""
    text, _ = depth_section(make_tuning() | {"range": {"advised": advised, "searched": searched}})
    assert (said in text) if said else ("widened" not in text)


def test_the_size_says_what_its_interval_is_of() -> None:
    advice = make_advice()
    advice["size"] |= {"p_large": 0.05, "interval": [0.0, 0.25]}
    page = make_page(advice, tuning=None)
    (table,) = [t for section in page.sections for t in section.folded if t.caption == "What the size rests on"]
    assert ("place between the thresholds, 0 small to 1 large", "0.00 to 0.25") in [tuple(row) for row in table.rows]


def test_interrupted_before_any_winner() -> None:
    tuning = make_tuning() | {
        "winner": None,
        "candidates": [],
        "by_depth": [],
        "confirmations": [],
        "stopped_because": "interrupted",
    }
    words = Reader(render_html(make_advice(), tuning=tuning)).words
    assert "a first choice by rule of thumb" in words
    assert "it was interrupted" in words


@pytest.mark.parametrize(("stopped", "said"), [("budget", True), ("trials", False)])
def test_a_budget_that_left_candidates_without_a_score_is_called_short(stopped: str, said: bool) -> None:
    why = "the search stopped before its turn"
    plain = {"strategy": "freeze_part", "head": "own", "why": why}
    unscored = [plain | {"frozen_blocks": 3}, plain | {"frozen_blocks": 2}, plain | {"head": "native"}]
    unscored.append(plain | {"frozen_blocks": 3, "option": "random_head"})
    tuning = make_tuning() | {"stopped_because": stopped, "unscored": unscored}
    words = Reader(render_html(make_advice(), tuning=tuning)).words
    assert ("Search longer (--budget): 2 candidates of the plan had no score in time" in words) == said


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def test_write_report_writes_both_and_names_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    folder.mkdir()
    write(folder, "advice.json", make_advice())
    assert write_report(folder) == folder / "report.html"
    assert "advisor tune trec6" in (folder / "report.md").read_text(encoding="utf-8")

    write(folder, "tuning.json", make_tuning())
    write_report(folder)
    assert f"advisor predict '{folder}' NEW_DATA" in (folder / "report.md").read_text(encoding="utf-8")
    assert "90.4% accuracy on the test split" in (folder / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["advice.json", "report.html", "report.md", "tuning.json"]


def test_a_missing_folder_or_advice_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="holds no run"):
        write_report(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match="holds no run") as caught:
        write_report(tmp_path)
    assert "advisor recommend" in caught.value.fix


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema": 1, "mod', "is not readable JSON"),
        (b"\xff\xfe\x00", "is not readable JSON"),
        (b"[" * 100_000, "is not readable JSON"),
        (b"[1, 2]", "was not written by this program"),
        (b'{"epochs": 3}', "was not written by this program"),
    ],
)
def test_a_damaged_or_foreign_advice_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "advice.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["advice.json"]


def test_another_schema_or_another_models_tuning_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "advice.json", make_advice() | {"schema": 2})
    with pytest.raises(DataError, match="has schema 2; this version reads schema 1"):
        write_report(tmp_path)
    write(tmp_path, "advice.json", make_advice())
    write(tmp_path, "tuning.json", make_tuning(n_blocks=13))
    with pytest.raises(DataError, match="are from different models"):
        write_report(tmp_path)
    (tmp_path / "tuning.json").write_text("{}")
    with pytest.raises(DataError, match="no candidates, winner in it"):
        write_report(tmp_path)


def test_an_unreadable_advice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "advice.json").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        write_report(tmp_path)


def test_the_report_says_what_features_cost_against_training() -> None:
    """Measured seconds of the shared pass and of both kinds; nothing where the pass was not measured."""
    words = Reader(render_html(make_advice(), tuning=make_tuning())).words
    assert "9 s for one pass of the frozen network, which all candidates share" in words
    without = make_tuning()
    del without["prefix"]["seconds"]
    assert "for one pass of the frozen network" not in render_html(make_advice(), tuning=without)


def test_names_of_candidates_say_their_option_and_what_reads_their_features() -> None:
    depth = {"strategy": "freeze_part", "frozen_blocks": 4, "option": "random_head"}
    assert candidate_words(depth, n_blocks=7) == "4 of 7 blocks frozen, random head"
    features = {"strategy": "feature_based", "features": "last", "top": "bilstm"}
    assert candidate_words(features, n_blocks=7).endswith(", BiLSTM")


def test_candidates_that_differ_in_head_option_or_top_are_others() -> None:
    plain = {"strategy": "freeze_part", "start": "pretrained", "frozen_blocks": 4, "features": None}
    assert same_candidate(plain, plain | {"head": "own", "option": None, "top": "linear", "augmentation": None})
    for change in ({"head": "native"}, {"option": "random_head"}, {"top": "bilstm"}, {"augmentation": "masking"}):
        assert not same_candidate(plain, plain | change)


def test_every_metric_stands_beside_the_one_that_decides() -> None:
    advice = make_advice()
    for name, value in (("majority", 0.2), ("tfidf_linear", 0.6), ("best_probe", 0.7)):
        scores = {
            metric: {"score": value, "interval": [value - 0.1, value + 0.1]} for metric in ("accuracy", "macro_f1")
        }
        advice["baselines"][name] = (advice["baselines"].get(name) or {}) | {"score": value, "metrics": scores}
    page = make_page(advice, tuning=make_tuning())
    fact = next(fact for fact in page.facts if fact.label == "Test accuracy")
    assert fact.note == "95% interval 87.8–93.0%; macro F1 81.1%; balanced accuracy 79.6%"
    section = next(section for section in page.sections if section.anchor == "quality")
    by_metric = next(table for table in section.tables if table.caption.startswith("By every metric"))
    assert by_metric.columns == ("What", "accuracy", "macro F1", "balanced accuracy")
    assert by_metric.rows[0] == (
        "the saved model, test split", "90.4% (87.8–93.0%)", "81.1% (77.0–85.0%)", "79.6% (75.0–84.0%)",
    )  # fmt: skip
    assert ("majority class, cross-validated", "20.0% (10.0–30.0%)", "20.0% (10.0–30.0%)", "not measured") in (
        by_metric.rows
    )
    before = next(section for section in make_page(advice, tuning=None).sections if section.anchor == "quality")
    assert before.tables[0].rows[0][0] == "majority class, cross-validated"


def test_the_class_that_is_found_least_comes_first() -> None:
    tuning = make_tuning()
    section = next(s for s in make_page(make_advice(), tuning=tuning).sections if s.anchor == "quality")
    classes = next(table for table in section.tables if table.caption == "Test split, by class")
    assert [row[0] for row in classes.rows] == ["rare", "common", "unseen"]
    assert classes.rows[0][1:] == ("30.0%", "20.0–31.0%", "75.0%", "42.9%", "10", "4")
    assert classes.rows[2][1:] == ("–", "–", "–", "–", "0", "0")
    tuning["winner"]["test"]["by_class"] *= 20
    many = next(s for s in make_page(make_advice(), tuning=tuning).sections if s.anchor == "quality")
    assert [len(table.rows) for table in many.folded] == [60]


def test_what_the_temperature_changed_is_said() -> None:
    text = render_markdown(make_advice(), tuning=make_tuning())
    assert "- Temperature: **1.83** (fitted on 80 validation rows)" in text
    assert "- Calibration error before: **0.093** (95% interval 0.060 to 0.130)" in text
    assert "- After: **0.034**" in text
    assert "on 100 test rows; perfect probabilities would show 0.030 on so few by chance." in text
    assert "Mean confidence was 97.0% and is 91.0%, where 90.4% are right." in text
    tuning = make_tuning() | {"calibration": {"temperature": 1.0, "n": 3, "why": "3 rows say little of it"}}
    assert "3 rows say little of it." in render_markdown(make_advice(), tuning=tuning)


def test_a_result_of_an_earlier_version_has_no_word_on_probabilities() -> None:
    tuning = make_tuning()
    del tuning["calibration"], tuning["winner"]["test"]["metrics"], tuning["winner"]["test"]["by_class"]
    text = render_html(make_advice(), tuning=tuning)
    assert "Temperature" not in text
    assert 'id="quality"' not in text


def test_what_weights_and_offsets_gave_is_said() -> None:
    options = [
        {
            "option": "class_weights", "difference": 0.021, "interval": [-0.01, 0.05], "seeds": 1, "kept": True,
            "candidate": {"strategy": "head_only", "frozen_blocks": 7}, "why": "no difference is shown",
        },
        {"option": "decision_offsets", "difference": None, "why": "there is no bias"},
    ]  # fmt: skip
    text = render_markdown(make_advice(), tuning=make_tuning() | {"options": options})
    assert "Class-weighted loss: no difference is shown: +2.1 points" in text
    assert "everything else equal; kept" in text
    assert "Decision offset by class was not tried: there is no bias" in text
