"""What a search says first, out of the values of a tuning.json."""

import pytest

from advisor.report.headline import cut_sentence, fit_sentence, headline

ROW = {"start": "pretrained", "augmentation": None, "head": "own", "option": None, "top": "linear", "features": None}


def row(depth, mean, expected, seconds, error):
    strategy = "head_only" if depth == 7 else "freeze_part" if depth else "train_all"
    return ROW | {
        "strategy": strategy, "frozen_blocks": depth, "mean": mean, "expected": expected, "seconds": seconds,
        "interval": [mean - 0.03, mean + 0.03], "standard_error": error,
    }  # fmt: skip


def tuning(**changes):
    winner = row(2, 0.85, 0.840, 40.0, 0.0)
    return {
        "n_blocks": 7,
        "winner": {"candidate": {key: winner[key] for key in (*ROW, "strategy", "frozen_blocks")}},
        "candidates": [winner, row(4, 0.845, 0.835, 20.0, 0.01), row(7, 0.80, 0.79, 1.0, 0.02)],
        "baselines": {"tfidf_linear": {"score": 0.70, "interval": [0.66, 0.74]}},
        "final": {"rows": 300, "steps": 200, "seeds": [0, 1, 2], "averaged": True, "why": "it paid", "share": 1.0},
    } | changes  # fmt: skip


def test_gains_and_the_cheapest_near_are_said_with_their_numbers():
    found = dict(headline(tuning()))
    assert found["trained"] == "on all 300 labelled rows, 200 steps, the weights of 3 seeds averaged (it paid)"
    # 15 points; half widths of 3 and 4 points make one of 5
    assert "+15.0 points [+10.0, +20.0] over TF-IDF" in found["gain"]
    # 5 points with a standard error of 2, which is one of the difference to the best
    assert "+5.0 points [+1.1, +8.9] over head only, on validation rows" in found["gain"]
    assert found["cheaper"] == "4 of 7 blocks frozen: expected to score 0.5 points less, at 50 % of the time of a run"
    assert "under-trained" not in found


@pytest.mark.parametrize(("mean", "alternatives"), [(0.85, 2), (None, 3)])
def test_what_was_fitted_at_once_is_not_among_the_alternatives_that_were_measured(mean, alternatives):
    from advisor.report.page import _lead
    from advisor.report.parts import Run

    stored = tuning(changed_from_advice=None)
    stored["winner"] |= {"validation": {"mean": mean}}
    run = Run(advice={}, tuning=stored, name="run", n_blocks=7, metric="accuracy")
    assert f"The tuner measured {alternatives} alternatives and kept the advice." in _lead(run)


def test_what_is_under_trained_stands_first():
    found = headline(tuning(final={"rows": 300, "steps": 20, "seeds": [0], "averaged": False, "why": "", "share": 0.1}))
    assert found[0][0] == "under-trained"
    assert cut_sentence({"final": {"share": 0.5, "steps": 20}}) == ""


def test_nothing_is_said_of_what_was_not_measured():
    assert headline({}) == []
    assert headline(tuning(final=None, baselines={}, candidates=[])) == []
    assert fit_sentence({}) == ""


@pytest.mark.parametrize("key", ["winner", "candidates", "baselines", "final", "n_blocks"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [3]])
def test_damaged_values_leave_lines_out(key, value):
    assert isinstance(headline(tuning(**{key: value})), list)
