"""Situations and advice on hand-made measurements."""

from dataclasses import replace

import pytest

from advisor.advice.situation import Situation, estimate_situation
from advisor.advice.strategy import NOT_KNOWN, choose_strategy, default_depth, depth_range, search_space
from advisor.evidence.predictions import cheapest_within, expect, predict_scores
from advisor.evidence.table import load_evidence
from advisor.measures.baselines import Baseline
from advisor.measures.probe import Probe, ProbeProfile
from advisor.measures.size import measure_size
from advisor.similarity.similarity import SimilarityProfile
from tuner.search.space import Candidate, candidate_at

N_BLOCKS = 7
MINILM = "all-MiniLM-L6-v2"


def similarity(p_similar):
    verdict = "unmeasured" if p_similar is None else "similar" if p_similar > 0.5 else "dissimilar"
    return SimilarityProfile(
        verdict=verdict,
        score=p_similar,
        interval=None if p_similar is None else (p_similar, p_similar),
        p_similar=p_similar,
        cuts=(0.4, 0.6),
        source=None,
        measures={},
        warnings=(),
        why="",
    )


SMALL = measure_size(n_examples=300, n_duplicates=0, n_per_class_min=100)
LARGE = measure_size(n_examples=100_000, n_duplicates=0, n_per_class_min=10_000)
MIDDLE = measure_size(n_examples=3_162, n_duplicates=0, n_per_class_min=1_000)


def probe(features, score, block=None):
    return Probe(features=features, block=block, score=score, interval=(score - 0.03, score + 0.03), l2=30.0)


def probes(head_only=0.8):
    every = (
        *(probe(f"block_{k}", 0.5 + k / 20, k) for k in range(6)),
        probe("last", head_only, 6),
        probe("concat_last_four", 0.85),
        probe("weighted_all", 0.84),
        probe("weighted_last_four", 0.83),
    )
    return ProbeProfile(
        metric="accuracy",
        n_rows=240,
        folds=5,
        probes=every,
        head_only=every[6],
        best=max(every, key=lambda p: p.score),
        learning_curve=(),
        curve_features="last",
    )


def advise(size, p_similar, **measured):
    situation = estimate_situation(size, similarity(p_similar))
    profile = probes(**measured)
    choice, freeze = choose_strategy(situation, profile, n_blocks=N_BLOCKS, baseline=None)
    space = search_space(situation, profile, recommended=candidate_at(freeze.recommended, N_BLOCKS), n_blocks=N_BLOCKS)
    return situation, choice, freeze, space


@pytest.mark.parametrize(
    ("size", "p_similar", "number"), [(LARGE, 0.05, 1), (LARGE, 0.95, 2), (SMALL, 0.05, 3), (SMALL, 0.95, 4)]
)
def test_four_corners_are_the_four_situations(size, p_similar, number):
    situation = estimate_situation(size, similarity(p_similar))
    assert situation.number == number
    assert situation.name == Situation(number).title
    assert sum(situation.probabilities.values()) == pytest.approx(1.0)
    assert situation.probabilities[str(number)] == pytest.approx(0.95 * 0.95)


def test_in_the_middle_no_situation_is_named():
    situation = estimate_situation(MIDDLE, similarity(0.5))
    assert situation.number is None
    assert set(situation.candidates) == {1, 2, 3, 4}


def test_without_similarity_there_are_no_probabilities():
    situation = estimate_situation(SMALL, similarity(None))
    assert situation.number is None
    assert situation.probabilities is None
    assert situation.candidates == (3, 4)


@pytest.mark.parametrize(
    ("size", "p_similar", "expected"),
    [
        (LARGE, 0.05, (0, 4)),  # half of 7, 3.5, widened to 3.8 by the small chance of the others, rounded outwards
        (LARGE, 0.95, (0, 7)),
        (SMALL, 0.05, (0, 7)),
        (SMALL, 0.95, (3, 7)),
        (SMALL, None, (0, 7)),
    ],
)
def test_ranges_are_mixed_by_probability(size, p_similar, expected):
    situation = estimate_situation(size, similarity(p_similar))
    assert depth_range(situation, n_blocks=N_BLOCKS) == expected


def test_a_certain_situation_sets_the_range_of_the_table():
    situation = estimate_situation(SMALL, similarity(1.0))
    certain = replace(situation, probabilities={"1": 0.0, "2": 0.0, "3": 0.0, "4": 1.0})
    assert depth_range(certain, n_blocks=8) == (4, 8)
    certain = replace(situation, probabilities={"1": 1.0, "2": 0.0, "3": 0.0, "4": 0.0})
    assert depth_range(certain, n_blocks=8) == (0, 4)


def test_fresh_weights_are_predicted_and_never_advised():
    """Of large data they are predicted, and take no depth's place: what is trained starts from pretrained weights."""
    profile = probes()
    expected = expect(load_evidence("text"), profile.probes, n=20_000, n_blocks=N_BLOCKS, model=MINILM)
    predictions = predict_scores(expected, n_blocks=N_BLOCKS)
    (scratch,) = (p for p in predictions if p.candidate.start == "scratch")
    first = (replace(scratch, score=0.999), *(p for p in predictions if p is not scratch))
    for prefer in ("score", "speed"):
        choice, freeze = choose_strategy(
            estimate_situation(LARGE, similarity(0.95)), profile, n_blocks=N_BLOCKS, baseline=None, predictions=first,
            prefer=prefer,
        )  # fmt: skip
        assert choice.decided_by == "evidence"
        assert "scratch" not in choice.reasons[0]
        everything = next(p for p in predictions if p.candidate == candidate_at(0, N_BLOCKS))
        assert freeze.predicted_by_depth[0].score == everything.score


def test_evidence_overrules_the_classic_rule_and_says_what_that_is_expected_to_cost():
    profile = probes()
    predictions = predict_scores(
        expect(load_evidence("text"), profile.probes, n=300, n_blocks=N_BLOCKS, model=MINILM), n_blocks=N_BLOCKS
    )
    situation = estimate_situation(SMALL, similarity(0.95))
    for prefer, expected in (("score", predictions[0]), ("speed", cheapest_within(predictions, points=1.0))):
        choice, freeze = choose_strategy(
            situation, profile, n_blocks=N_BLOCKS, baseline=None, predictions=predictions, prefer=prefer
        )
        assert (choice.decided_by, choice.features) == ("evidence", expected.candidate.features)
        assert freeze.recommended == expected.candidate.frozenness(N_BLOCKS)
        assert [row.frozen_blocks for row in freeze.predicted_by_depth] == list(range(N_BLOCKS + 1))
        assert None not in [row.score for row in freeze.predicted_by_depth]
        assert choice.reasons[0].startswith("best: ")
        assert "16 text sets" in choice.reasons[1]
        head_only = next(p for p in predictions if p.candidate == candidate_at(N_BLOCKS, N_BLOCKS))
        lost = 100 * (predictions[0].score - head_only.score)
        assert f"costs {lost:.1f} points against the best in expectation" in choice.reasons[2]


def test_without_evidence_the_answer_is_not_known():
    _, choice, freeze, space = advise(SMALL, 0.95)
    assert (choice.name, choice.number, choice.decided_by, freeze.recommended) == ("freeze_part", 2, "rule", 5)
    assert choice.classic_rule == "small and similar: train only the classifier"
    assert choice.reasons[0] == NOT_KNOWN
    assert "not known until `advisor tune` has tried it" in NOT_KNOWN
    assert candidate_at(7, N_BLOCKS) in space.first
    assert Candidate(strategy="feature_based", frozen_blocks=None, features="concat_last_four") in space.first
    assert Candidate(strategy="feature_based", frozen_blocks=None, features="block_5") in space.first
    assert candidate_at(6, N_BLOCKS) in space.first


def test_situation_one_follows_the_classic_rule_with_scratch_as_a_control():
    _, choice, freeze, space = advise(LARGE, 0.05)
    assert (choice.name, choice.number, freeze.recommended) == ("train_all", 1, 0)
    assert space.first[0] == candidate_at(0, N_BLOCKS)
    assert Candidate(strategy="train_all", start="scratch", frozen_blocks=0) in space.first
    assert candidate_at(2, N_BLOCKS) in space.first


def test_situation_three_tries_half_three_quarters_and_all_but_one():
    _, _, _, space = advise(SMALL, 0.05)
    assert [c.frozen_blocks for c in space.first if not c.is_linear] == [5, 4, 6]


@pytest.mark.parametrize(("size", "p_similar"), [(SMALL, 0.05), (SMALL, 0.95), (LARGE, 0.05), (SMALL, None)])
def test_the_best_probes_are_always_tried_since_they_cost_seconds(size, p_similar):
    features = [c.features for c in advise(size, p_similar)[3].first if c.strategy == "feature_based"]
    assert features == ["concat_last_four", "block_5"]


def test_networks_with_batch_norms_are_searched_at_higher_rates():
    situation, profile = estimate_situation(SMALL, similarity(0.05)), probes()
    rates = [
        search_space(
            situation, profile, recommended=candidate_at(5, N_BLOCKS), n_blocks=N_BLOCKS, batch_norm=norm
        ).learning_rate
        for norm in (False, True)
    ]
    assert rates == [(2e-5, 5e-4), (2e-4, 4e-3)]


def test_an_unknown_situation_looks_widely():
    _, choice, freeze, space = advise(SMALL, None)
    assert freeze.recommended == 5
    assert [c.frozen_blocks for c in space.first if not c.is_linear] == [5]
    assert any("looks widely" in reason for reason in choice.reasons)


@pytest.mark.parametrize(("size", "p_similar"), [(SMALL, 0.95), (LARGE, 0.05), (MIDDLE, None)])
def test_controls_are_always_there(size, p_similar):
    assert [c.frozen_blocks for c in advise(size, p_similar)[3].controls] == [0, 5, 7]


def test_a_head_with_nothing_left_to_gain_decides():
    profile = probes()
    perfect = replace(profile.head_only, score=0.999, interval=(0.995, 1.0))
    profile = replace(profile, head_only=perfect, best=perfect)
    situation = estimate_situation(SMALL, similarity(0.95))
    choice, freeze = choose_strategy(situation, profile, n_blocks=N_BLOCKS, baseline=None)
    assert (choice.name, choice.decided_by, freeze.recommended) == ("head_only", "probe", N_BLOCKS)


def test_only_what_was_measured_has_a_predicted_score():
    _, _, freeze, _ = advise(SMALL, 0.95)
    assert [p.score for p in freeze.predicted_by_depth] == [None] * 7 + [0.8]
    assert {p.why for p in freeze.predicted_by_depth[:7]} == {"not measured"}
    assert freeze.predicted_by_depth[7].interval == pytest.approx((0.77, 0.83))


def test_a_bag_of_words_above_every_probe_is_said():
    situation = estimate_situation(SMALL, similarity(0.95))
    baseline = Baseline(score=0.95, interval=(0.93, 0.97), method="TF-IDF + logistic regression")
    choice, _ = choose_strategy(situation, probes(), n_blocks=N_BLOCKS, baseline=baseline)
    assert any("more than every probe" in reason for reason in choice.reasons)


def test_the_default_is_three_quarters():
    assert [default_depth(n) for n in (2, 4, 7, 13, 25)] == [1, 3, 5, 10, 19]


def test_options_of_training_are_tried_where_data_may_be_small():
    assert advise(SMALL, 0.95)[3].options == advise(SMALL, 0.05)[3].options == ("random_head", "fresh_top")
    assert advise(LARGE, 0.05)[3].options == ()


def test_words_that_are_tagged_are_read_by_a_bilstm_too():
    situation, profile = estimate_situation(SMALL, similarity(0.05)), probes()
    options = {"recommended": candidate_at(5, N_BLOCKS), "n_blocks": N_BLOCKS}
    counts = [
        [c.top for c in search_space(situation, profile, **options, tops=tops).first].count("bilstm")
        for tops in (("linear",), ("linear", "bilstm"))
    ]
    assert counts == [0, 1]
