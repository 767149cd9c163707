"""Layouts of well-known public datasets: read where only one reading makes sense, else refused with the real reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from advisor.data.cautions import joined_labels
from advisor.data.columns import choose_columns
from advisor.data.read import read_tables
from advisor.data.splits import fold_text, split_of_name
from advisor.data.token_copies import count_token_copies, token_copies_note
from helpers import tiny
from helpers.loading import load_target
from tuner.errors import DataError
from tuner.model.assemble import load_backbone

TEXTS = [f"the film was number {i} of all and the plot is fine" for i in range(60)]
LABELS = ["neg", "pos"] * 30


def _csv(texts: list[str] = TEXTS, labels: list[str] = LABELS, *, header: str = "text,label") -> str:
    return "\n".join([header, *(f"{text},{label}" for text, label in zip(texts, labels, strict=True))]) + "\n"


def _pictures(folder: Path, *, n: int = 20, ending: str = ".png", seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}{ending}", format="PNG")


def _names(*, n: int = 20, header: str = "image,label", ending: str = ".png") -> str:
    return "\n".join([header, *(f"{i}{ending},{'cd'[i % 2]}" for i in range(n))]) + "\n"


def test_unlabelled_rows_of_training_are_no_second_training_file(tmp_path: Path) -> None:
    (tmp_path / "labeledTrainData.csv").write_text(_csv())
    (tmp_path / "unlabeledTrainData.csv").write_text(_csv())
    target = load_target(tmp_path)
    assert target.n_examples == 60
    assert any("unlabeledTrainData.csv was not read" in warning for warning in target.warnings)


def test_more_names_of_splits() -> None:
    names = ("Validate_v2", "vld", "devel", "unlabeledTrain", "trainset", "evalset", "devset")
    expected = ["validation", "validation", "validation", None, "train", "validation", "validation"]
    assert [split_of_name(name) for name in names] == expected


def test_a_column_of_splits_that_is_not_used_is_named() -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS, "set": ["train"] * 40 + ["test"] * 20})
    warnings = load_target(frame).warnings
    assert any("column 'set' of the data frame names splits (test, train)" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["age", "likes", "retweet_count"])
def test_quantities_are_no_labels(name: str) -> None:
    table = read_tables(pd.DataFrame({"text": TEXTS, name: [18 + i % 6 for i in range(60)]})).parts["all"]
    with pytest.raises(DataError, match="not clear which column holds the labels"):
        choose_columns(table, place="data")


def test_rows_that_r_numbers_without_a_name(tmp_path: Path) -> None:
    rows = "".join(f'"{i + 1}","{text}","{LABELS[i]}"\n' for i, text in enumerate(TEXTS))
    (tmp_path / "r.csv").write_text('"text","label"\n' + rows)
    target = load_target(tmp_path / "r.csv")
    assert (target.columns["text"], target.columns["label"], target.n_examples) == ("text", "label", 60)
    assert list(target.texts[:1]) == TEXTS[:1]


def test_titles_of_several_cells_above_a_blank_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Report of 2021\nCreated by,Somebody\n\n" + _csv())
    target = load_target(tmp_path / "t.csv")
    assert target.n_examples == 60
    assert target.class_names == ("neg", "pos")
    (tmp_path / "gap.csv").write_text("text,label\n" + TEXTS[0] + ",neg\n\n" + _csv()[11:])
    assert load_target(tmp_path / "gap.csv").n_examples == 61


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "a pointer of Git LFS", "git lfs pull"),
        ("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "is a web page", "the file itself"),
        ("\n".join(TEXTS) + "\n", "which column holds the labels", "write texts and labels into two columns"),
    ],
)
def test_what_is_no_table_is_called_by_its_name(tmp_path: Path, content: str, what: str, fix: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(DataError, match=what) as caught:
        load_target(tmp_path / "data.csv")
    assert fix in str(caught.value.fix)


def test_labels_in_lists_of_one(tmp_path: Path) -> None:
    rows = [json.dumps({"id": i, "text": text, "label": [LABELS[i]]}) for i, text in enumerate(TEXTS)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows) + "\n")
    assert load_target(tmp_path / "d.jsonl").class_names == ("neg", "pos")
    assert load_target(tmp_path / "d.jsonl").task == "sequence_classification"
    rows[3] = json.dumps({"id": 3, "text": TEXTS[3], "label": ["neg", "pos"]})
    (tmp_path / "d.jsonl").write_text("\n".join(rows) + "\n")
    target = load_target(tmp_path / "d.jsonl")
    assert target.task == "multi_label_classification"
    assert target.class_names == ("neg", "pos")
    assert target.marks[3].tolist() == [1, 1]


def test_classes_below_a_folder_with_a_description_beside_it(tmp_path: Path) -> None:
    for i, text in enumerate(TEXTS):
        path = tmp_path / "txt_sentoken" / LABELS[i] / f"cv{i:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "poldata.README.2.0").write_text("what this is")
    assert load_target(tmp_path).class_names == ("neg", "pos")
    (tmp_path / "list.txt").write_text("cv000")
    target = load_target(tmp_path)
    assert target.n_examples == 60
    assert any("1 text file in no class folder was not used" in warning for warning in target.warnings)


@pytest.mark.parametrize("folder", ["images", ".", "img/all"])
def test_a_folder_whose_one_table_names_its_images(tmp_path: Path, folder: str) -> None:
    _pictures(tmp_path / folder)
    (tmp_path / "labels.csv").write_text(_names())
    target = load_target(tmp_path)
    assert (target.kind, target.n_examples, target.class_names) == ("image", 20, ("c", "d"))
    assert target.warnings == ()


def test_two_tables_beside_images_are_not_chosen_from(tmp_path: Path) -> None:
    _pictures(tmp_path / "images")
    (tmp_path / "labels.csv").write_text(_names())
    (tmp_path / "other.csv").write_text(_names())
    with pytest.raises(DataError):
        load_target(tmp_path)


def test_names_of_images_in_the_folder_of_their_split(tmp_path: Path) -> None:
    _pictures(tmp_path / "train")
    _pictures(tmp_path / "test", n=5, seed=1)
    (tmp_path / "train.csv").write_text(_names())
    target = load_target(tmp_path)
    assert target.n_examples == 20
    assert all(Path(path).parent.name == "train" for path in target.texts)


def test_images_without_endings_are_not_said_to_be_ignored(tmp_path: Path) -> None:
    _pictures(tmp_path, ending="")
    (tmp_path / "metadata.csv").write_text(_names(header="file_name,label", ending=""))
    target = load_target(tmp_path)
    assert (target.n_examples, target.warnings) == (20, ())


def test_rows_in_memory() -> None:
    rows = ({"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True))
    assert load_target(rows).n_examples == 60
    assert read_tables({"text": TEXTS[:3]}, labelled=False).parts["all"].num_rows == 3
    with pytest.raises(DataError, match="a list of 60 tuples cannot be read"):
        load_target(list(zip(TEXTS, LABELS, strict=True)))
    with pytest.raises(DataError, match="the list is empty"):
        load_target([])
    with pytest.raises(DataError, match="the texts are bytes"):
        load_target(([text.encode() for text in TEXTS], LABELS))


def test_joined_labels_of_few_combinations() -> None:
    assert joined_labels(["A", "A;B", "B;C"]) == (";", "A;B")
    assert joined_labels(["happy", "sad", "happy#sad"]) == ("#", "happy#sad")
    assert joined_labels(["C", "C++", "C#"]) is None


def test_copies_that_only_the_tokenizer_sees(tmp_path: Path) -> None:
    backbone = load_backbone(tiny.save_model(tmp_path / "model"), device="cpu")
    train = [f"the film was {word} . and {other}" for word in tiny.WORDS[:12] for other in tiny.WORDS[:6]]
    copies = [text.replace(" .", ".") for text in train[:3]]
    frames = {
        "train": pd.DataFrame({"text": train, "label": [0, 1] * 36}),
        "test": pd.DataFrame(
            {"text": [*copies, *(f"a dog sleeps {word} ." for word in tiny.WORDS[:9])], "label": [0, 1] * 6}
        ),
    }
    target = load_target(frames)
    assert target.n_leaked == 0
    assert count_token_copies(target, backbone) == 3
    assert (
        "3 validation or test rows are written otherwise than any row of train"
        in token_copies_note(target, backbone)[0]
    )
    frames["test"]["text"] = [text.replace("film", "фильм") for text in frames["test"]["text"]]
    assert token_copies_note(load_target(frames), backbone) == []


def test_joiners_and_marks_of_direction_are_folded() -> None:
    assert fold_text("\u202afilm\u202c a\u200db") == fold_text("Film ab")
