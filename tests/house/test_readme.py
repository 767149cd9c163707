"""What the README shows works."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer.main
from transformers import BertForSequenceClassification

from advisor.cli import app, run
from helpers import tiny

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_every_command_and_option_exists():
    lines = [line.partition("#")[0] for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("advisor ")]
    assert len(commands) == 5
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
    from advisor.data.examples import load_example

    monkeypatch.chdir(tmp_path)
    frame = load_example("docstrings")
    frame.iloc[::8].to_csv("reviews.csv", index=False)
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    first, second = capsys.readouterr().out.strip().splitlines()[-2:]
    assert first.startswith("train_all 0 ")
    assert second.strip("[]'") in set(frame.iloc[:, 1])


@pytest.mark.slow
def test_the_scikit_learn_example_runs(capsys):
    """The budget is cut to seconds; all else as shown."""
    from helpers.commands import reviews

    rows = reviews(120)
    given = {"texts": [row["text"] for row in rows], "labels": [row["label"] for row in rows]}
    exec(compile(blocks("python")[1].replace('"2m"', "8"), "README.md", "exec"), given)
    assert len(capsys.readouterr().out.strip().splitlines()[-1].strip("[]").split()) == 3


@pytest.mark.slow
def test_the_trainer_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = BertForSequenceClassification(tiny.bert().config)
    rows = [{"input_ids": torch.tensor([4, 5 + i]), "labels": i % 2} for i in range(8)]
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    exec(compile(blocks("python")[2], "README.md", "exec"), {"model": model, "rows": rows})
    same = {name for name, parameter in model.named_parameters() if torch.equal(before[name], parameter)}
    assert same >= {name for name in before if "embeddings" in name or "encoder.layer.0." in name}
    assert not {name for name in same if "classifier" in name}


@pytest.mark.slow
def test_the_network_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    """The budget is cut to one trial; all else as shown."""
    import numpy as np
    from PIL import Image
    from safetensors.torch import save_file

    code, _ = blocks("python", (ROOT / "docs" / "own-models.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    definitions, _, use = code.partition("network = CifarResNet()")
    space = {}
    exec(compile(definitions, "own-models.md", "exec"), space)
    torch.manual_seed(0)
    network = space["CifarResNet"]()
    network.train()(torch.randn(64, 3, 32, 32))
    save_file(network.state_dict(), "weights.safetensors")
    rng = np.random.default_rng(0)
    shades = rng.integers(40, 256, size=(200, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    np.savez("cifar10.npz", images=shades)
    for number, image in enumerate(shades[:60]):
        folder = Path("images", "ab"[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image // (1 + number % 2)).save(folder / f"{number}.png")
    Image.fromarray(shades[70]).save("new.png")
    exec(compile("network = CifarResNet()" + use.replace('budget="1m"', "trials=1"), "own-models.md", "exec"), space)
    found, measured, label = [line for line in capsys.readouterr().out.splitlines() if line.strip()][-3:]
    units = [f"layer{stage}.{unit}" for stage in (1, 2, 3) for unit in range(3)]
    assert found == str(["conv1", *units])
    assert measured.split()[0] in ("similar", "uncertain", "dissimilar", "unmeasured")
    assert label.strip("[]'") in ("a", "b")


@pytest.mark.slow
def test_the_language_model_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    """The budget is cut to one trial; all else as shown."""
    from safetensors.torch import save_file

    from helpers.commands import reviews

    _, code = blocks("python", (ROOT / "docs" / "own-models.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    lines = ["text,label", *(f"{row['text']},{row['label']}" for row in reviews(120))]
    Path("reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tiny.tokenizer().save_pretrained("tokenizer")
    definitions, _, use = code.partition("reader = LanguageModel()")
    space = {"WORDS": len(tiny.WORDS) + 4}
    exec(compile(definitions, "own-models.md", "exec"), space)
    torch.manual_seed(0)
    save_file(space["LanguageModel"]().state_dict(), "language-model.safetensors")
    exec(compile("reader = LanguageModel()" + use.replace('budget="1m"', "trials=1"), "own-models.md", "exec"), space)
    assert space["result"].winner["candidate"]["features"] == "weighted_all"
    label = [line for line in capsys.readouterr().out.splitlines() if line.strip()][-1]
    assert label.strip("[]'") in {line.rpartition(",")[2] for line in lines[1:]}


@pytest.mark.slow
def test_the_commands_run_in_the_order_shown(tmp_path, monkeypatch, capsys):
    from advisor.data.examples import load_example

    monkeypatch.chdir(tmp_path)
    frame = load_example("docstrings").iloc[::16]
    frame.to_csv("reviews.csv", index=False)
    frame.iloc[:, :1].to_csv("new.csv", index=False)
    assert run(["recommend", "reviews.csv", "--quiet", "--out", "runs/asked"]) == 0
    assert run(["tune", "reviews.csv", "--trials", "1", "--quiet", "--out", "runs/RUN"]) == 0
    capsys.readouterr()
    assert run(["predict", "runs/RUN", "new.csv", "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(frame) + 1
    pairs = (f"Paul O\nlives B-verb\nhere{n} O\n\nThe{n} O\ncat B-animal\nruns B-verb\n\n" for n in range(40))
    Path("sentences.conll").write_text("".join(pairs))
    assert run(["tune", "sentences.conll", "--trials", "1", "--quiet", "--out", "runs/tagged"]) == 0
    assert "80 sentences, 120 entities of 2 types" in capsys.readouterr().out
    assert run(["tune", "example:digits", "--budget", "60s", "--quiet", "--out", "runs/digits"]) == 0
    assert "digits with cifar-resnet: 1,797 examples, 10 classes" in capsys.readouterr().out
