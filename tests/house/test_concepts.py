"""The page of concepts names commands that exist, and shows the tables that were measured."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from advisor.cli import app
from tuner.names import OPTIONS
from tuner.search.space import STRATEGIES, check_strategy
from tuner.tasks.heads import FEATURES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_exists():
    commands = [shlex.split(line) for line in re.findall(r"`(advisor [^`]+)`", PAGE)]
    assert len(commands) > 6
    known = typer.main.get_command(app).commands
    for words in commands:
        options = {option for parameter in known[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
        if "--strategy" in words:
            check_strategy(words[words.index("--strategy") + 1])


def test_every_strategy_is_named():
    for name in (*STRATEGIES, *FEATURES, *OPTIONS):
        assert re.search(rf"\b{name}\b", PAGE), name


def test_every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_the_tables_are_those_of_the_results(maker):
    """After new results: python docs/make_tables.py."""
    assert maker.filled(PAGE, maker.tables()) == PAGE
    assert PAGE.count("<!-- table: ") == len(maker.tables())
