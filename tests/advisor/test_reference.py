"""What `recommend` says of four kinds of data stays what it was: the same seed, the same advice.json.

The files under tests/reference are kept on purpose. Where a figure is meant to change, write them anew with
``WRITE_REFERENCE=1 pytest tests/advisor/test_reference.py`` and read what changed in the commit.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from advisor import recommend

REFERENCE = Path(__file__).parents[1] / "reference"
CLOSE = 2e-3
"""Sums of products come out otherwise on other processors; a row more or less of 160 would be three times as much."""
NOT_COMPARED = {"seconds", "versions", "next_command", "next_steps", "fingerprint", "thumbnails", "sha256"}
"""Times, versions, and what names folders or hashes what lies there."""

SUBJECTS = {
    "food": ["soup", "bread", "cheese", "pepper", "noodles", "lentils", "plums", "garlic"],
    "travel": ["train", "harbour", "ticket", "border", "luggage", "ferry", "hostel", "bridge"],
    "money": ["loan", "invoice", "market", "pension", "tax", "salary", "budget", "shares"],
}
VERBS = ["costs", "needs", "follows", "beats", "missed", "liked", "waits for", "talks of"]
PLACES = ["Oslo", "Lima", "Quito", "Perth", "Kyoto", "Accra", "Turin", "Dakar"]
PEOPLE = ["Ada", "Noor", "Ivan", "Mei", "Otto", "Zola", "Rhea", "Sten"]


def texts():
    """Sentences of three subjects, an eighth of which speak of another one."""
    draw, rows = np.random.default_rng(1), []
    for place in range(240):
        label = list(SUBJECTS)[place % 3]
        told = list(SUBJECTS)[int(draw.integers(3))] if place % 8 == 0 else label
        first, second = draw.choice(SUBJECTS[told], 2, replace=False)
        rows.append({"text": f"The {first} {draw.choice(VERBS)} the {second}, number {place}.", "label": label})
    return rows


def pairs():
    """Two sentences that speak of one subject or of two."""
    draw, rows = np.random.default_rng(2), []
    for place in range(240):
        first = str(draw.choice(list(SUBJECTS)))
        same = place % 2 == 0
        second = first if same else str(draw.choice([name for name in SUBJECTS if name != first]))
        one, two = (f"The {draw.choice(SUBJECTS[name])} {draw.choice(VERBS)} it." for name in (first, second))
        rows.append({"one": f"{one} {place}", "two": two, "label": "same" if same else "other"})
    return rows


def sentences():
    """Words with people and places among them, in a scheme with B- and I-."""
    draw, rows = np.random.default_rng(3), []
    for place in range(200):
        person, town = str(draw.choice(PEOPLE)), str(draw.choice(PLACES))
        words = [person, str(draw.choice(PEOPLE)), *str(draw.choice(VERBS)).split(), "the", "train", "to", town]
        tags = ["B-person", "I-person", *["O"] * (len(words) - 3), "B-place"]
        words, tags = [*words, "on", "day", str(place)], [*tags, "O", "O", "O"]
        rows.append({"tokens": words, "tags": tags})
    return rows


def write_images(folder):
    """Pictures of stripes that run across, down, or both ways, with noise."""
    from PIL import Image

    draw = np.random.default_rng(4)
    for place in range(150):
        label = ("across", "down", "both")[place % 3]
        wave = np.sin(np.arange(32) * (0.6 + draw.random())) * 60
        picture = 128 + draw.normal(0, 40, (32, 32, 3))
        picture += wave[:, None, None] * (label != "down") + wave[None, :, None] * (label != "across")
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / label / f"{place}.png")


def write(kind, folder):
    """The data of a kind, and the options that `recommend` needs to read it."""
    if kind == "image":
        write_images(folder / "pictures")
        return folder / "pictures", {}
    rows = {"text": texts, "pair": pairs, "tagged": sentences}[kind]()
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, {"text": "one", "text_pair": "two"} if kind == "pair" else {}


def comparable(value):
    """Without what differs from run to run and machine to machine."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in NOT_COMPARED}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def same_text(found, wanted):
    """Whether two texts are alike but for the last digit of the fractions in them."""
    fraction = re.compile(r"\d+\.\d+")
    if fraction.split(found) != fraction.split(wanted):
        return False
    pairs = zip(fraction.findall(found), fraction.findall(wanted), strict=True)
    return all(abs(float(a) - float(b)) < 2.5 * 10.0 ** -len(b.partition(".")[2]) for a, b in pairs)


def differences(found, wanted, *, at=""):
    """Where two JSON values differ: values that are not close, and keys that are gone; keys may be added."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        if isinstance(found, dict) and isinstance(wanted, dict):
            gone = [f"{at}.{key} is gone" for key in wanted.keys() - found.keys()]
            both = wanted.keys() & found.keys()
            return gone + [d for key in both for d in differences(found[key], wanted[key], at=f"{at}.{key}")]
        if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
            pairs = enumerate(zip(found, wanted, strict=True))
            return [d for place, (a, b) in pairs for d in differences(a, b, at=f"{at}[{place}]")]
        if isinstance(found, str) and isinstance(wanted, str):
            return [] if same_text(found, wanted) else [f"{at}: {found!r}, not {wanted!r}"]
        return [] if found == wanted else [f"{at}: {found!r}, not {wanted!r}"]
    alike = isinstance(wanted, (int, float)) and abs(found - wanted) <= CLOSE * max(1.0, abs(wanted))
    return [] if alike else [f"{at}: {found!r}, not {wanted!r}"]


@pytest.mark.parametrize("kind", ["text", "pair", "tagged", "image"])
def test_advice_is_what_it_was(kind, tmp_path):
    data, options = write(kind, tmp_path)
    recommend(data, out=tmp_path / "run", sample=160, own_evidence=False, **options)
    found = comparable(json.loads((tmp_path / "run" / "advice.json").read_text()))
    kept = REFERENCE / f"{kind}.json"
    if os.environ.get("WRITE_REFERENCE"):
        kept.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert differences(found, json.loads(kept.read_text())) == []


def test_a_difference_is_seen():
    wanted = {"score": 0.5, "names": ["a"], "n": {"deep": 1}}
    assert differences({"score": 0.501, "names": ["a"], "n": {"deep": 1}, "new": 1}, wanted) == []
    assert differences({"score": 0.51, "names": ["b"], "n": {}}, wanted) != []
    assert len(differences({"score": 0.51, "names": ["b"], "n": {}}, wanted)) == 3
    assert same_text("0.84 [0.81, 0.9]", "0.85 [0.82, 0.9]")
    assert not same_text("0.84 of 3", "0.88 of 3")
    assert not same_text("0.84 of 3", "0.84 of 4")
