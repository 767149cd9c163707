"""What the README shows works."""

import re
import shlex
from pathlib import Path

import pytest
import tiny
import torch
import typer.main
from transformers import BertForSequenceClassification

from advisor.cli import app, run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_every_command_and_option_exists():
    lines = [line.partition("#")[0] for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("advisor ")]
    assert len(commands) == 4
    known = typer.main.get_command(app).commands
    for words in commands:
        options = {option for parameter in known[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    targets = set(re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == {"demo", "test"}
    assert all(f"\n{target}:" in makefile for target in targets)


def test_every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    from advisor.examples import load_example

    monkeypatch.chdir(tmp_path)
    frame = load_example("docstrings")
    frame.iloc[::8].to_csv("reviews.csv", index=False)
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    first, second = capsys.readouterr().out.strip().splitlines()[-2:]
    assert first.startswith("freeze_part 5 ")
    assert second.strip("[]'") in set(frame.iloc[:, 1])


@pytest.mark.slow
def test_the_trainer_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = BertForSequenceClassification(tiny.bert().config)
    rows = [{"input_ids": torch.tensor([4, 5 + i]), "labels": i % 2} for i in range(8)]
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    exec(compile(blocks("python")[1], "README.md", "exec"), {"model": model, "rows": rows})
    same = {name for name, parameter in model.named_parameters() if torch.equal(before[name], parameter)}
    assert same >= {name for name in before if "embeddings" in name or "encoder.layer.0." in name}
    assert not {name for name in same if "classifier" in name}


@pytest.mark.slow
def test_the_commands_run_in_the_order_shown(tmp_path, monkeypatch, capsys):
    from advisor.examples import load_example

    monkeypatch.chdir(tmp_path)
    frame = load_example("docstrings").iloc[::16]
    frame.to_csv("reviews.csv", index=False)
    frame.iloc[:, :1].to_csv("new.csv", index=False)
    assert run(["recommend", "reviews.csv", "--quiet", "--out", "runs/asked"]) == 0
    assert run(["tune", "reviews.csv", "--trials", "1", "--quiet", "--out", "runs/RUN"]) == 0
    capsys.readouterr()
    assert run(["predict", "runs/RUN", "new.csv", "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(frame) + 1
    assert run(["tune", "example:digits", "--trials", "1", "--quiet", "--out", "runs/digits"]) == 0
    assert "digits with cifar-resnet: 1,797 examples, 10 classes" in capsys.readouterr().out
