"""What the comparison of strategies says of options, and the order in which runs are made side by side."""

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import side_by_side
import strategies


def runs(**changed):
    """Two depths and two seeds of a set, plain and with an option: (validation, test) in points by depth and seed."""
    return pd.DataFrame(
        {"set": "trec6", "n": 200, "seed": seed, "candidate": depth, "option": option, "augmentation": "",
         "what": {"": "", "random_head": "random head"}[option], "validation": validation / 100, "test": test / 100}
        for option, by_depth in changed.items()
        for depth, pairs in by_depth.items()
        for seed, (validation, test) in enumerate(pairs)
    )  # fmt: skip


def test_an_option_is_worth_what_it_adds_at_the_depth_that_validation_chooses():
    """The plain depth with the best test score is not the one that validation chooses, nor is the option's."""
    best = pd.concat(
        [
            runs(**{"": {"half": [(80, 70), (82, 72)], "none": [(70, 90), (70, 90)]}}),
            runs(random_head={"half": [(60, 95), (60, 95)], "none": [(81, 75), (83, 76)]}),
        ]
    )
    found = strategies.gains(best)
    assert list(found.points) == pytest.approx([5.0, 4.0])
    table = strategies.wins_table(best).splitlines()
    assert table[0] == "|  | trec6 | wins on |"
    assert table[2] == "| random head | +4.5 ± 0.5 | trec6 |"


def test_a_gain_within_its_standard_error_is_no_win():
    best = pd.concat([runs(**{"": {"half": [(80, 70), (80, 70)]}}), runs(random_head={"half": [(80, 80), (80, 61)]})])
    assert strategies.wins_table(best).splitlines()[2] == "| random head | +0.5 ± 9.5 | nothing |"


def test_every_task_waits_for_one_that_comes_before_it():
    named = set()
    for tasks in side_by_side.TASKS.values():
        for task in tasks():
            assert task.after is None or task.after in named, task.name
            assert task.name not in named
            named.add(task.name)
    assert {"tagging wnut17 2 everything trained", "strategies mr 1000 2"} <= named
