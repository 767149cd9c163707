"""What users see is called the same everywhere: by one module."""

import ast
from pathlib import Path

import pytest

import advisor
from advisor.advice.situation import Situation
from advisor.report.wording import candidate_words
from tuner import names
from tuner.search.space import STRATEGIES, Candidate
from tuner.tasks.heads import FEATURES
from tuner.tasks.known import TASKS
from tuner.tasks.metrics import METRICS, OF_TAGS
from tuner.tasks.numbers import MEASURES

ROOT = Path(advisor.__file__).parents[1]
FILES = [path for package in ("advisor", "tuner") for path in sorted((ROOT / package).rglob("*.py"))]
NAMED = {
    *STRATEGIES, *names.SITUATIONS, *names.FEATURES, *names.BASELINES, *names.VARIANTS, *names.METRICS,
}  # fmt: skip


def tables(tree):
    """Dictionaries that say in words what at least two of the names mean."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            said = [v for v in node.values if isinstance(v, (ast.JoinedStr, ast.Constant)) and not is_number(v)]
            if len({key for key in keys if type(key) in (int, str)} & NAMED) > 1 and len(said) > 1:
                yield node.lineno


def is_number(node):
    return isinstance(node, ast.Constant) and not isinstance(node.value, str)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_names_them(path):
    found = list(tables(ast.parse(path.read_text(encoding="utf-8"))))
    assert bool(found) == (path == ROOT / "tuner" / "names.py"), found


def test_a_second_table_is_found():
    assert list(tables(ast.parse('{"majority": "the majority", "tfidf_linear": "words"}'))) == [1]
    assert list(tables(ast.parse('{1: "large", 2: "small"}'))) == [1]
    assert not list(tables(ast.parse('{"majority": 0.1, "tfidf_linear": 0.2}')))


def test_everything_that_can_be_asked_for_has_a_name():
    assert {*FEATURES} == {*names.FEATURES}
    assert {metric for task in TASKS for metric in task.metrics} | {*MEASURES} == {*names.METRICS}
    assert {*METRICS, OF_TAGS} <= {*names.METRICS}
    assert {situation.value: situation.title for situation in Situation} == names.SITUATIONS
    assert {situation.value: situation.classic_rule for situation in Situation} == names.CLASSIC_RULES
    assert names.STRATEGIES.keys() == names.STRATEGY_NUMBERS.keys() <= {*STRATEGIES}


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (Candidate(strategy="train_all", frozen_blocks=0), "everything trained"),
        (Candidate(strategy="freeze_part", frozen_blocks=5, option="random_head"), "5 of 7 blocks frozen, random head"),
        (Candidate(strategy="freeze_part", frozen_blocks=5, head="native"), "5 of 7 blocks frozen, native head"),
        (
            Candidate(
                strategy="train_all", frozen_blocks=0, option="class_weights", augmentation="flip", head="native"
            ),
            "everything trained, class-weighted loss, mirroring, native head",
        ),
        (Candidate(strategy="head_only", frozen_blocks=7), "head only"),
        (Candidate(strategy="train_all", start="scratch", frozen_blocks=0), "trained from scratch (control)"),
        (
            Candidate(strategy="feature_based", frozen_blocks=None, features="weighted_all", top="bilstm"),
            "feature-based, weighted all, BiLSTM",
        ),
    ],
)
def test_the_report_calls_a_candidate_as_the_search_does(candidate, name):
    assert candidate.label(7) == candidate_words(candidate.to_json(), n_blocks=7) == name
