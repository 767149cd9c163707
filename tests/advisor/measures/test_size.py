import pytest

from advisor.kinds.table import kind_of
from advisor.measures.probe import CurvePoint
from advisor.measures.size import measure_size, position
from helpers.loading import load_target


def size_of(target):
    return kind_of(target).size(target, learning_curve=(), curve_features="last")


def size(n, per_class, duplicates=0, curve=()):
    return measure_size(n_examples=n, n_duplicates=duplicates, n_per_class_min=per_class, learning_curve=curve)


@pytest.mark.parametrize(
    ("n", "per_class", "verdict"),
    [
        (1_000, 500, "small"),
        (5_000, 64, "small"),
        (10_000, 500, "large"),
        (9_999, 500, "uncertain"),
        (50_000, 499, "uncertain"),
    ],
)
def test_verdict_follows_the_weaker_criterion(n, per_class, verdict):
    assert size(n, per_class).verdict == verdict


def test_duplicates_do_not_count():
    profile = size(11_000, 1_000, duplicates=10_500)
    assert profile.n_effective == 500
    assert profile.verdict == "small"
    assert "500 distinct examples, under 1,000" in profile.why


def test_a_given_test_split_is_not_learned_from(tmp_path):
    for split, n in (("train", 90), ("test", 50)):
        rows = [f"text {split} {i},{'ab'[i % 2]}" for i in range(n)]
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    given = size_of(load_target(tmp_path))
    assert (given.n_examples, given.n_per_class_min) == (90, 45)
    own = size_of(load_target(tmp_path / "train.csv"))
    assert (own.n_examples, own.n_per_class_min) == (90, 45)


def test_equal_texts_count_once(tmp_path):
    rows = [f"text {i % 60},{'ab'[i % 2]}" for i in range(90)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    profile = size_of(load_target(tmp_path / "data.csv"))
    assert (profile.n_examples, profile.n_duplicates, profile.n_effective) == (90, 30, 60)


def test_probability_is_on_a_log_scale():
    assert position(316, small=100, large=1_000) == pytest.approx(0.5, abs=1e-3)
    assert size(100, 10).p_large == pytest.approx(0.05)
    assert size(10**6, 10**5).p_large == pytest.approx(0.95)
    halfway = size(3_162, 10**3)
    assert halfway.p_large == pytest.approx(0.5, abs=1e-3)
    assert halfway.interval == pytest.approx((0.5, 1.0), abs=1e-3)


@pytest.mark.parametrize(
    ("gain", "bounds", "said"),
    [
        (0.02, (0.01, 0.03), "gained +2.0 points [+1.0, +3.0] (still rising)"),
        (0.01, (-0.01, 0.03), "neither a rise nor a fall is shown"),
        (-0.02, (-0.03, -0.01), "falling"),
    ],
)
def test_the_curve_says_whether_more_data_would_help(gain, bounds, said):
    curve = (
        CurvePoint(n=400, score=0.70, interval=(0.6, 0.8)),
        CurvePoint(n=800, score=0.70 + gain, interval=(0.6, 0.8), gain=gain, gain_interval=bounds),
    )
    assert said in size(5_000, 600, curve=curve).why


def test_copies_do_not_make_a_class_large(tmp_path):
    rows = [f"text number {i},a" for i in range(2_000)] + [f"copy {i % 5},b" for i in range(600)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    profile = size_of(load_target(tmp_path / "data.csv"))
    assert profile.n_per_class_min == 5
    assert profile.verdict == "small"
