"""The evidence benchmark: its order, what it cuts, its compact rows, and regret on tables that are known by hand."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import evidence
import evidence_table as table


def runs_of(*rows):
    """A table of runs from (seed, candidate, learning rate, validation, right test rows)."""
    cell = {"model": "m", "set": "s", "n": 100}
    return pd.DataFrame(
        [
            cell
            | {"seed": seed, "candidate": name, "learning_rate": rate, "validation": validation}
            | {"test": np.mean(right), "test_rows": len(right), "correct": table.pack(np.array(right, dtype=bool))}
            | {"frozen_blocks": 4 if name == "head_only" else int(name[-1])}
            for seed, name, rate, validation, right in rows
        ]
    )


def test_every_set_is_measured_small_and_once_before_any_is_measured_again():
    cells = evidence.plan()
    tiers = list(dict.fromkeys((cell.n, cell.seed) for cell in cells))
    assert tiers == [
        (100, 0), (1000, 0), (300, 0), (100, 1), (1000, 1), (300, 1), (100, 2), (1000, 2), (300, 2),
        (10_000, 0), (10_000, 1), (10_000, 2),
    ]  # fmt: skip
    first = [cell for cell in cells if (cell.n, cell.seed) == (100, 0)]
    assert cells[: len(first)] == first
    assert len(first) == 16 + 2 * 3
    assert {cell.set for cell in cells if cell.n == 10_000} == set(evidence.LARGE_SETS)
    assert len(cells) == len(set(cells)) == 9 * 22 + 3 * 6


def test_cut_stops_as_soon_as_the_rest_fits():
    cells = evidence.plan()

    def hours(some):
        return len(some) / 3

    assert evidence.cut(cells, hours=hours, most=72) == (cells, [])  # 216 cells
    kept, left_out = evidence.cut(cells, hours=hours, most=50)
    assert left_out == ["third seed"]
    assert kept == [cell for cell in cells if cell.seed < 2]
    kept, left_out = evidence.cut(cells, hours=hours, most=36)
    assert left_out == ["third seed", "n = 300"]
    assert {cell.n for cell in kept} == {100, 1000, 10_000}
    kept, left_out = evidence.cut(cells, hours=hours, most=1)
    assert left_out == ["third seed", "n = 300", "images"]
    assert {cell.set for cell in kept} == set(evidence.TEXT_SETS)


def test_projection_counts_what_was_spent_and_what_is_left():
    done = evidence.Cell(model=evidence.TEXT_MODEL, set="mr", n=100, seed=1)
    to_do = evidence.Cell(model=evidence.TEXT_MODEL, set="cr", n=100, seed=0)
    # Seven depths, 20 epochs of 5 steps, 16 rows each: 11,200 rows, twice on seed 0.
    runs = pd.DataFrame([done.key | {"rows_seen": 1600, "wall_seconds": 160.0, "device": "cpu"} for _ in range(7)])
    assert evidence.projected_hours([done], runs) == pytest.approx(1120 / 3600)
    assert evidence.projected_hours([done, to_do], runs) == pytest.approx((1120 + 2240) / 3600)
    image = evidence.Cell(model=evidence.RESNET, set="mnist_t10k", n=100, seed=1)  # ten depths, a model not seen yet
    assert evidence.projected_hours([image], runs) == pytest.approx(1600 / 3600)
    # What a GPU took elsewhere does not say what is left here.
    elsewhere = runs.assign(seed=2, wall_seconds=1.0, device="cuda")
    assert evidence.projected_hours([to_do], pd.concat([runs, elsewhere])) == pytest.approx(2240 / 3600)
    assert evidence.projected_hours([to_do], elsewhere) == pytest.approx(14 / 3600)


def test_small_cells_hold_every_depth_and_variant_large_ones_the_few_and_scratch():
    small = evidence.candidates(evidence.Cell(model=evidence.TEXT_MODEL, set="mr", n=1000, seed=0))
    assert list(small) == [
        "head_only", "embeddings", "second_to_last", "weighted_last_four", "concat_last_four", "weighted_all",
        *(f"depth_{depth}" for depth in range(7)),
    ]  # fmt: skip
    large = evidence.candidates(evidence.Cell(model=evidence.TEXT_MODEL, set="mr", n=10_000, seed=0))
    assert list(large) == ["head_only", "depth_0", "depth_4", "depth_5", "scratch"]
    image = evidence.Cell(model=evidence.MOBILENET, set="mnist_t10k", n=100, seed=0)
    assert not [name for name in evidence.candidates(image, widths=range(14)) if name.startswith("weighted")]


def test_further_models_are_measured_at_some_depths_once():
    cells = evidence.further_plan()
    assert {cell.seed for cell in cells} == {0}
    assert len(cells) == 3 * (16 + 3 + 16)
    assert [cell.n for cell in cells[:35]] == [300] * 35
    assert not {cell.model for cell in cells} & {cell.model for cell in evidence.plan()}
    assert {model: evidence.depths_of(model) for model in evidence.FURTHER} == {
        evidence.MINILM_L3: [0, 1, 2, 3], evidence.LITE0: [0, 4, 8, 13, 16], evidence.DISTILBERT: [0, 2, 4, 5, 6],
    }  # fmt: skip
    assert evidence.depths_of(evidence.TEXT_MODEL) == list(range(7))
    named = evidence.candidates(evidence.Cell(model=evidence.MINILM_L3, set="mr", n=300, seed=0))
    assert [name for name in named if name.startswith("depth")] == ["depth_0", "depth_1", "depth_2", "depth_3"]
    assert named["head_only"].frozen_blocks == 4


def test_small_cells_stay_within_400_steps_of_16_rows():
    full, scratch = (evidence.candidates(evidence.Cell(model=evidence.TEXT_MODEL, set="mr", n=10_000, seed=0))[name]
                     for name in ("depth_0", "scratch"))  # fmt: skip
    assert [evidence.schedule(full, rows) for rows in (80, 240, 800)] == [(100, 16), (300, 16), (400, 16)]
    assert evidence.schedule(full, 8_000) == (750, 32)
    assert evidence.schedule(scratch, 8_000) == (2_000, 32)


def test_draws_hold_rare_classes_and_grow_by_rows_that_are_kept():
    labels = np.array(["rare"] * 6 + ["common"] * 994)
    hundred, more = (evidence.draw(labels, size=size, seed=3) for size in (100, 300))
    assert len(set(hundred)) == 100
    assert (labels[hundred] == "rare").sum() >= 5
    assert set(hundred) <= set(more)
    assert set(hundred) != set(evidence.draw(labels, size=100, seed=4))


@pytest.fixture
def cell_of_mr(monkeypatch):
    """Sixty classes of forty texts, the last 1,200 of them test rows."""
    labels = np.array([f"{row % 60:02}" for row in range(2_400)])
    testable = np.arange(2_400) >= 1_200
    monkeypatch.setattr(evidence, "read_set", lambda name: (None, labels, testable, ~testable))

    def draw(n, seed):
        return evidence.draw_rows(evidence.Cell(model=evidence.TEXT_MODEL, set="mr", n=n, seed=seed)), labels

    return draw


def test_seeds_change_training_rows_and_never_test_rows(cell_of_mr):
    (train, test), _ = cell_of_mr(300, 0)
    (other, same), _ = cell_of_mr(300, 1)
    assert test.tolist() == same.tolist()
    assert set(train) != set(other)
    assert test.min() >= 1_200 > train.max()
    assert (len(train), len(test)) == (300, 800)  # a third of the rows at most


def test_few_rows_take_fewer_classes(cell_of_mr):
    (train, test), labels = cell_of_mr(100, 0)
    assert len(set(labels[train])) == 20
    assert set(labels[train]) == set(labels[test])
    assert set(np.unique(labels[train], return_counts=True)[1]) == {5}


@pytest.mark.parametrize("n", [1, 8, 13, 1000])
def test_correctness_is_packed_and_unpacked(n):
    right = np.random.default_rng(n).random(n) < 0.7
    text = table.pack(right)
    assert table.unpack(text, n=n).tolist() == right.tolist()
    assert len(text) <= 4 * -(-n // 24)


def test_lines_are_appended_after_one_header(tmp_path):
    path = tmp_path / "runs.csv"
    table.append(path, {"set": "a, b", "n": 1})
    table.append(path, {"set": "c", "n": 2})
    assert path.read_bytes() == b'set,n\n"a, b",1\nc,2\n'


def test_the_rate_is_chosen_on_validation_rows_of_seed_0():
    runs = runs_of(
        (0, "depth_0", 1e-4, 0.8, [0, 0]), (0, "depth_0", 1e-3, 0.7, [1, 1]),
        (0, "depth_1", 1e-4, 0.7, [0, 0]), (0, "depth_1", 1e-3, 0.8, [1, 1]),
        (0, "depth_2", 1e-4, 0.7, [1, 0]),
        (0, "head_only", 0.0, 0.5, [0, 1]), (1, "depth_0", 1e-3, 0.9, [1, 1]), (1, "depth_0", 1e-4, 0.6, [0, 1]),
    )  # fmt: skip
    cell = ("m", "s", 100)
    rates = {(*cell, "depth_0"): 1e-4, (*cell, "depth_1"): 1e-3, (*cell, "head_only"): 0.0}
    assert table.chosen_rates(runs) == rates
    kept = table.at_chosen_rates(runs)
    assert list(zip(kept.seed, kept.candidate, strict=True)) == [
        (0, "depth_0"), (0, "depth_1"), (0, "head_only"), (1, "depth_0"),
    ]  # fmt: skip


@pytest.mark.parametrize(("other", "expected"), [(0.9, 1e-3), (0.75, 1e-3), (0.3, 1e-4), (0.7, 1e-4)])
def test_tied_rates_follow_the_other_candidates_then_the_lower(other, expected):
    runs = runs_of(
        (0, "head_only", 0.0, 0.99, [1, 1]),
        (0, "depth_0", 1e-4, 0.8, [0, 0]), (0, "depth_0", 1e-3, 0.8, [1, 1]),
        (0, "depth_1", 2e-4, 0.7, [0, 0]), (0, "depth_1", 2e-3, other, [1, 1]),
    )  # fmt: skip
    assert table.chosen_rates(runs)["m", "s", 100, "depth_0"] == expected


def test_noise_over_seeds_is_pooled_by_degrees_of_freedom():
    right = {0.2: [1, 0, 0, 0, 0], 0.4: [1, 1, 0, 0, 0], 0.6: [1, 1, 1, 0, 0]}
    runs = runs_of(
        *((seed, "depth_0", 0.0, 0.0, right[score]) for seed, score in enumerate((0.2, 0.4, 0.6))),
        *((seed, "depth_1", 0.0, 0.0, right[score]) for seed, score in enumerate((0.2, 0.2))),
        (0, "depth_2", 0.0, 0.0, right[0.6]),
    )
    pooled = table.pooled_sd(runs)
    assert pooled.loc[("m", 100), "groups"] == 2
    assert pooled.loc[("m", 100), "sd"] == pytest.approx(100 * (0.08 / 3) ** 0.5)  # squares 0.08 + 0 over 2 + 1


def test_regret_is_scored_where_the_best_was_not_picked():
    right = {"a": np.array([1, 1, 0, 0]), "b": np.array([0, 0, 1, 0]), "c": np.array([0, 1, 0, 0])}
    halves = [np.array([True, True, False, False])]
    # Left half: a is best, right half: a 0. Right half: b is best, left half: b 0.
    assert table.cross_fitted_regret(right, "a", halves=halves) == -50.0  # (0 - 0) and (0 - 1)
    assert table.cross_fitted_regret(right, "b", halves=halves) == -25.0  # (0 - 0.5) and (0 - 0)
    assert table.cross_fitted_regret(right, "c", halves=halves) == -25.0  # (0 - 0) and (0 - 0.5)


def test_random_halves_are_halves_and_the_same_again():
    first, second = list(table.random_halves(10)), list(table.random_halves(10))
    assert {int(mask.sum()) for mask in first} == {5}
    assert np.array_equal(first, second)
    assert len({mask.tobytes() for mask in first}) > 10


def test_the_classic_rule_chooses_by_the_situation():
    names = ["depth_0", "depth_2", "depth_3", "head_only", "weighted_all"]
    constants = {name: name for name in names[:-1]}
    assert table.policies(names, n_blocks=4, profile={}) == constants
    profile = {"situation": 4.0, "p_1": 0.1, "p_2": 0.1, "p_3": 0.1, "p_4": 0.7, "advised_depth": 3}
    assert table.policies(names, n_blocks=4, profile=profile) == constants | {
        "classic rule, named": "head_only", "classic rule, likeliest": "head_only", "as advised": "depth_3",
    }  # fmt: skip
    unsure = profile | {"situation": float("nan"), "p_3": 0.8, "advised_depth": 4}
    assert table.policies(names, n_blocks=4, profile=unsure) == constants | {
        "classic rule, likeliest": "depth_2", "as advised": "head_only",
    }  # fmt: skip


def test_situations_are_compared_by_what_the_rule_and_constants_lost():
    all_right, none = [1] * 8, [0] * 8
    by_depth = {0: all_right, 2: none, 3: all_right}
    runs = runs_of(
        *((seed, f"depth_{depth}", 0.0, 0.0, right) for seed in (0, 1) for depth, right in by_depth.items()),
        (0, "head_only", 0.0, 0.0, none), (1, "head_only", 0.0, 0.0, all_right),
    )  # fmt: skip
    cell = {"model": "m", "set": "s", "n": 100, "advised_depth": 3}
    rule = {"p_1": 0, "p_2": 0, "p_3": 1, "p_4": 0}
    profiles = pd.DataFrame([cell | rule | {"seed": 0, "situation": 3}, cell | rule | {"seed": 1, "situation": None}])
    # Of a model without a source profile nothing is known of the situation.
    runs = pd.concat([runs, runs.assign(model="without a source")], ignore_index=True)
    unmeasured = cell | {"model": "without a source", "seed": 0, "situation": None, "p_1": None}
    profiles = pd.concat([profiles, pd.DataFrame([unmeasured])], ignore_index=True)
    lines = table.situations_table(runs, profiles).splitlines()
    assert lines[0].startswith("| situation | sets (cells) | classic rule | as advised | head only |")
    assert lines[2] == "| 1 | 0 (0) | – | – | – | – | – | – |"
    # Half of four blocks, which the rule means too, loses everything; three quarters, advised, and none lose nothing.
    assert lines[4] == "| 3 | 1 (1) | 100.0 | 0.0 | 100.0 | 0.0 | 100.0 | 0.0 |"
    assert lines[6] == "| none is certain | 1 (1) | – | 0.0 | 0.0 | 0.0 | 100.0 | 0.0 |"


def test_regret_by_policy_counts_complete_cells_only():
    all_right, none = [1] * 8, [0] * 8
    runs = runs_of(
        (0, "depth_0", 0.0, 0.0, all_right), (0, "depth_2", 0.0, 0.0, none), (0, "head_only", 0.0, 0.0, all_right),
        (1, "depth_0", 0.0, 0.0, none),
        (2, "depth_0", 0.0, 0.0, none), (2, "depth_2", 0.0, 0.0, none), (2, "head_only", 0.0, 0.0, none),
    )  # fmt: skip
    # Seed 1 lacks candidates, seed 2 the profile that the rule needs.
    profiles = pd.DataFrame(
        [{"model": "m", "set": "s", "n": 100, "seed": 0, "situation": 3, "p_1": 0, "p_2": 0, "p_3": 1, "p_4": 0}]
    )
    found = table.regrets(runs, profiles)
    assert dict(zip(found.policy, found.regret, strict=True)) == {
        "depth_0": 0.0, "depth_2": 100.0, "head_only": 0.0, "classic rule, named": 100.0,
        "classic rule, likeliest": 100.0,
    }  # fmt: skip
    assert set(found.seed) == {0}
