"""The command line, called in this process, and a small set of reviews."""

import numpy as np

from advisor.cli import run
from helpers import tiny

GOOD, BAD = tiny.WORDS[:6], tiny.WORDS[6:12]


FILLER = tiny.WORDS[12:]


def reviews(n=160, seed=0):
    """Lines whose mood word decides the label."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(n):
        label = ("neg", "pos")[index % 2]
        words = [*generator.choice(FILLER, size=4), str(generator.choice(GOOD if label == "pos" else BAD))]
        generator.shuffle(words)
        rows.append({"text": " ".join(words) + f" {index}", "label": label})
    return rows


def printed(capsys, *arguments):
    """Standard output of a command that succeeds."""
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def failed(capsys, *arguments):
    """The message of a command that the user can fix."""
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 2, captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("error: ")
    assert "\n  why: " in captured.err
    assert "\n  fix: " in captured.err
    return captured.err
