"""Columns that are neither texts nor labels: dates, ids, addresses, quantities; and what messages say of the others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from advisor.data.column_kinds import is_bookkeeping
from helpers.loading import load_target
from tuner.errors import DataError

N = 60
TEXTS = [f"a review of thing number {i} on the shelf" for i in range(N)]
PICK = np.random.default_rng(3)


def some(*values: Any) -> list[Any]:
    """Each value on several rows, in no order, as labels are."""
    return [values[i] for i in PICK.permutation(np.arange(N) % len(values))]


NO_LABELS: dict[str, list[Any]] = {
    "date": some(*[f"2031-04-{day:02d}" for day in range(1, 9)]),
    "when": some(*[f"{day}/4/2031" for day in range(1, 9)]),
    "day": some("3 April 2031", "4 April 2031", "May 5, 2031"),
    "posted": some("2031-04-02T10:00:00Z", "2031-04-03T11:30:00Z", "2031-04-03 11:30"),
    "clock": some("10:30", "11:45", "12:00"),
    "epoch": some(1900000000, 1900003600, 1900007200),
    "epoch_text": some("1900000000", "1900003600", "1900007200"),
    "user_id": some("u1", "u2", "u3"),
    "Unnamed: 0": some(0, 1, 2),
    "session": some(*[f"{i:032x}" for i in (2**100, 2**101, 2**102)]),
    "key": some("0f8fad5b-d9cd-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    "site": some("https://example.org/a", "https://example.org/b"),
    "contact": some("a@example.org", "b@example.org"),
    "caller": some("+49 30 1234567", "+49 30 7654321"),
    "caller_us": some("555-123-4567", "555-987-6543"),
    "place": some("52.5200, 13.4050", "48.1374, 11.5755"),
    "north": some(52.52, 48.1374, 50.11),
    "mean": some("3.7", "4.1", "2.9"),
    "published": some(2019, 2020, 2021),
    "postal": some(10435, 12000, 80331),
    "product": some("B000XYZ", "B001XYZ", "B002XYZ"),
    "votes": [*some(*range(3, 36, 2))],
    "constant": ["same"] * N,
    "part": some("train", "test"),
    "number": list(range(N)),
}


@pytest.mark.parametrize("name", NO_LABELS)
def test_what_keeps_the_books_is_not_taken_as_the_label(name: str) -> None:
    frame = pd.DataFrame({"review": TEXTS, name: NO_LABELS[name]})
    with pytest.raises(DataError, match="it is not clear which column holds the labels") as caught:
        load_target(frame)
    assert f"{name} holds " in caught.value.why
    assert f"pass --label with one of the columns: review, {name}" in caught.value.fix
    frame["mood"] = some("glad", "sad", "calm")
    assert load_target(frame).columns["label"] == "mood"


@pytest.mark.parametrize(
    ("name", "values", "classes"),
    [
        ("stars", some(1.0, 2.0, 3.0), ("1", "2", "3")),
        ("stars", some("1.0", "2.0"), ("1", "2")),
        ("rating", some(1, 2, 3, 4, 5), ("1", "2", "3", "4", "5")),
        ("verified", some(True, False), ("False", "True")),
        ("mood", some("1", "0"), ("0", "1")),
        ("mood", some("None of it", "all of it"), ("None of it", "all of it")),
        ("mood", some("may", "march"), ("march", "may")),
        ("mood", some("dead", "beef"), ("beef", "dead")),
        ("mood", some("5-10", "11-20"), ("11-20", "5-10")),
        ("mood", some(-1, 1), ("-1", "1")),
    ],
)
def test_few_whole_numbers_booleans_and_words_are_labels(
    name: str, values: list[Any], classes: tuple[str, ...]
) -> None:
    target = load_target(pd.DataFrame({"review": TEXTS, name: values, "date": NO_LABELS["date"]}))
    assert (target.columns["label"], target.class_names) == (name, classes)


def test_means_of_stars_are_asked_for_and_named_with_values() -> None:
    stars = [round(1 + 4 * i / N, 1) for i in range(N)]
    frame = pd.DataFrame({"id": range(N), "review": TEXTS, "stars": stars, "date": NO_LABELS["date"]})
    with pytest.raises(DataError, match="not clear which column holds the labels") as caught:
        load_target(frame)
    assert "stars holds 1.0, 1.1" in caught.value.why


def test_two_that_could_be_labels_are_shown_with_three_values_each() -> None:
    frame = pd.DataFrame(
        {"text": TEXTS, "tone": ["warm", "cold", "dry", "wet"] * 15, "area": ["a", "a", "b", "b"] * 15}
    )
    with pytest.raises(DataError, match="several columns could hold the labels: tone, area") as caught:
        load_target(frame)
    assert caught.value.why.endswith("tone holds warm, cold, dry; area holds a, b")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("link", [f"https://example.org/articles/number/{i}" for i in range(N)]),
        ("page", [f"https://example.org/articles/number/{i}" for i in range(N)]),
        ("stamp", [f"2031-04-02T10:{i:02d}:00.000Z" for i in range(N)]),
        ("key", [f"{i:040x}"[::-1] for i in range(2**20, 2**20 + N)]),
        ("file", [f"folder_of_things/item_number_{i}" for i in range(N)]),
    ],
)
def test_addresses_times_and_identifiers_are_no_texts(name: str, values: list[str]) -> None:
    frame = pd.DataFrame({name: values, "words": TEXTS, "label": some("a", "b")})
    assert load_target(frame).columns["text"] == "words"


def test_dates_called_target_are_no_classes() -> None:
    frame = pd.DataFrame({"text": TEXTS, "target": NO_LABELS["date"], "mood": some("glad", "sad")})
    assert load_target(frame).columns["label"] == "mood"
    assert load_target(frame.rename(columns={"mood": "category"}).drop(columns="target")).columns["label"] == "category"


def test_what_the_user_names_is_read_whatever_it_is() -> None:
    frame = pd.DataFrame({"text": TEXTS, "year": some(2019, 2020, 2021), "mood": some("glad", "sad")})
    assert load_target(frame, label="year").class_names == ("2019", "2020", "2021")


def test_names_that_keep_the_books() -> None:
    names = ("id", "userId", "review_id", "created at", "Latitude", "unnamed_3", "level_0", "URL", "ip")
    assert all(map(is_bookkeeping, names))
    assert not any(map(is_bookkeeping, ("label", "kid", "valid", "emotion", "upvoted", "grid", "curl")))


def test_columns_may_be_many(tmp_path: Path) -> None:
    names = [f"feature_{i}" for i in range(30_000)]
    names[7_000], names[20_000] = "text", "label"
    cells = ["0.25"] * len(names)
    lines = [",".join(names)]
    for i in range(20):
        cells[7_000], cells[20_000] = TEXTS[i], "ab"[i % 2]
        lines.append(",".join(cells))
    path = tmp_path / "wide.csv"  # its header is longer than what is looked at first
    path.write_text("\n".join(lines) + "\n")
    start = time.process_time()
    assert load_target(path).n_examples == 20
    assert time.process_time() - start < 15
