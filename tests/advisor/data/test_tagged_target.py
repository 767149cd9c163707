"""Tagged sentences as target data: numbers, splits, copies, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

import advisor.data.read
from advisor.data.sentences import read_sentences
from advisor.kinds.sentences import Sentences
from advisor.kinds.table import kind_of
from advisor.kinds.texts import Texts
from helpers.loading import load_target
from helpers.recognised import is_tagged
from tuner.errors import DataError, OptionError


def sentences(n: int = 60, *, start: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Every third sentence holds no entity, every tenth one of the rare type."""
    tokens = [["Ann", "Lee", "met", f"w{start + i}"] for i in range(n)]
    tags = [["B-person", "I-person", "O", "O"] for _ in range(n)]
    for i in range(n):
        if i % 3 == 0:
            tokens[i][:2], tags[i][:2] = ["they", "both"], ["O", "O"]
        elif i % 10 == 1:
            tags[i][3] = "B-place"
    return tokens, tags


def write(path: Path, tokens: list[list[str]], tags: list[list[str]]) -> Path:
    rows = ({"tokens": words, "tags": names} for words, names in zip(tokens, tags, strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def folder(path: Path, **parts: tuple[list[list[str]], list[list[str]]]) -> Path:
    path.mkdir(exist_ok=True)
    for name, (tokens, tags) in parts.items():
        write(path / f"{name}.jsonl", tokens, tags)
    return path


def together(target, positions):
    """What folds must not part, as the search is told."""
    return kind_of(target).labelled_rows(target, np.array(positions)).groups


def test_words_and_tags_are_numbered_with_o_first():
    tokens, tags = sentences()
    target = load_target((tokens, tags))
    assert isinstance(kind_of(target), Sentences)
    assert target.task == "token_classification"
    assert target.class_names[0] == "O"
    assert set(target.class_names) == {"O", "B-person", "I-person", "B-place"}
    assert target.words == tuple(map(tuple, tokens))
    assert target.tags_at(range(len(tokens))) == tags
    assert target.texts_at([0, 1]) == [" ".join(tokens[0]), " ".join(tokens[1])]
    assert kind_of(target).rows_at(target, np.array([1, 0])) == [tuple(tokens[1]), tuple(tokens[0])]
    assert kind_of(target).counts(target)["n_words"] == sum(map(len, target.tags)) == sum(map(len, tokens))


def test_names_that_put_o_elsewhere_are_renumbered():
    import datasets

    names = ["B-place", "O", "B-person", "I-person", "B-never"]
    tokens, tags = sentences()
    features = datasets.Features(
        tokens=datasets.Sequence(datasets.Value("string")), ner_tags=datasets.Sequence(datasets.ClassLabel(names=names))
    )
    rows = {"tokens": tokens, "ner_tags": [[names.index(tag) for tag in row] for row in tags]}
    target = load_target(datasets.Dataset.from_dict(rows, features=features))
    assert target.class_names == ("O", "B-place", "B-person", "I-person")  # what never occurs is no class
    assert target.tags_at(range(len(tags))) == tags


def test_missing_splits_are_carved_with_every_type_in_each():
    target = load_target(sentences(200))
    parts = (target.train, target.validation, target.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert [len(part) for part in parts] == [128, 32, 40]
    for part in parts:
        assert {name for row in target.tags_at(part) for name in row} == set(target.class_names)


def test_the_stratum_is_the_rarest_type():
    tokens, tags = sentences(200)
    target = load_target((tokens, tags))
    kinds = [("B-place" in row) + ("B-person" in row) for row in tags]
    assert len(np.unique(target.labels)) == 3
    for kind in range(3):
        assert len({int(label) for label, own in zip(target.labels, kinds, strict=True) if own == kind}) == 1


def test_a_type_that_occurs_once_is_kept_and_stays_in_training():
    tokens, tags = sentences(60)
    tags[4][3] = "B-odd"
    target = load_target((tokens, tags))
    assert "B-odd" in target.class_names
    assert target.labels[4] == target.labels[5]  # with the commonest type
    assert target.warnings == () or 4 not in target.train


def test_types_that_training_lacks_are_said(tmp_path):
    tokens, tags = sentences(30, start=100)
    tags[1][3] = "B-odd"
    target = load_target(folder(tmp_path / "d", train=sentences(60), test=(tokens, tags)))
    assert any("no training sentence holds an entity of the type odd" in warning for warning in target.warnings)


def test_copies_never_stand_in_two_splits():
    tokens, tags = sentences(40)
    target = load_target((tokens * 3, tags * 3))
    assert target.n_duplicates == 80
    for one, other in (
        (target.train, target.validation),
        (target.train, target.test),
        (target.validation, target.test),
    ):
        assert not set(target.text_ids[one]) & set(target.text_ids[other])
    linked = together(target, [0, 1, 40, 80])
    assert linked.tolist() == [0, 1, 0, 0]
    assert together(load_target(sentences(40)), range(40)) is None


def test_leaks_between_given_splits_are_left_out_and_counted(tmp_path):
    train, test = sentences(60), sentences(20, start=50)  # ten sentences, some equal to those of training
    equal = sum(words in train[0] for words in test[0])
    target = load_target(folder(tmp_path / "d", train=train, test=test))
    assert target.given_splits == ("train", "test")
    assert target.n_leaked == equal > 0
    assert target.n_dropped["leaked"] == equal
    assert len(target.test) == 20
    assert any(warning.startswith("leakage:") and "a sentence" in warning for warning in target.warnings)


def test_copies_with_other_tags_are_conflicts():
    tokens, tags = sentences(60)
    target = load_target(([*tokens, tokens[1]], [*tags, ["O", "O", "O", "O"]]))
    assert target.n_conflicting == 1
    assert any("more than one sequence of tags" in warning for warning in target.warnings)


def test_warnings_of_the_reader_are_passed_on():
    tokens, tags = sentences(60)
    tags[0][1] = "I-person"
    target = load_target((tokens, tags))
    assert any("illegal in BIO" in warning for warning in target.warnings)


def test_a_test_file_replaces_the_test_split(tmp_path):
    data = write(tmp_path / "a.jsonl", *sentences(60))
    test = write(tmp_path / "b.jsonl", *sentences(9, start=1000))
    target = load_target(data, test=test)
    assert len(target.test) == 9
    assert target.given_splits == ("train", "test")
    again = load_target(folder(tmp_path / "d", train=sentences(60), test=sentences(20, start=500)), test=test)
    assert len(again.test) == 9
    assert any("was replaced by b.jsonl" in warning for warning in again.warnings)
    with pytest.raises(OptionError, match="is a folder"):
        load_target(data, test=tmp_path / "d")


def test_columns_are_named_in_the_data_and_not_in_a_conll_file_of_test_sentences(tmp_path):
    tokens, tags = sentences(60)
    data = pd.DataFrame({"toks": tokens, "spans": tags})
    test = tmp_path / "test.conll"
    test.write_text("".join(f"Bob B-person\nw{i} O\n\n" for i in range(7)))
    target = load_target(data, text="toks", label="spans", test=test)
    assert len(target.test) == 7
    assert target.tags_at(target.test[:1]) == [["B-person", "O"]]
    with pytest.raises(OptionError, match="--label spans does not go with"):
        load_target(test, label="spans")


# --- groups


def grouped(n: int = 60, *, size: int = 4, start: int = 0) -> pd.DataFrame:
    """Groups of `size` sentences, named d0, d1..."""
    tokens, tags = sentences(n, start=start)
    return pd.DataFrame({"tokens": tokens, "tags": tags, "doc": [f"d{(start + i) // size}" for i in range(n)]})


def sides(target) -> list[set[int]]:
    return [set(target.groups[rows].tolist()) for rows in (target.train, target.validation, target.test)]


@pytest.mark.parametrize("kind", ["frame", "dataset", "jsonl", "json", "parquet", "csv", "folder"])
def test_groups_of_tagged_sentences_are_never_divided(tmp_path, kind):
    data = grouped()
    given = data
    if kind == "dataset":
        given = datasets.Dataset.from_pandas(data)
    elif kind == "folder":
        (tmp_path / "d").mkdir()
        data.to_json(tmp_path / "d" / "train.jsonl", orient="records", lines=True)
        given = tmp_path / "d"
    elif kind != "frame":
        given = tmp_path / f"a.{kind}"
        if kind == "parquet":
            data.to_parquet(given)
        elif kind == "csv":
            data.assign(tokens=data["tokens"].map(json.dumps), tags=data["tags"].map(json.dumps)).to_csv(given)
        else:
            data.to_json(given, orient="records", lines=kind == "jsonl")
    target = load_target(given, group="doc")
    assert target.groups.tolist() == [i // 4 for i in range(60)]
    assert [len(side) for side in sides(target)] == [9, 3, 3]
    assert len(set.union(*sides(target))) == 15
    for rows in (target.train, target.validation, target.test):
        assert (target.labels[rows] > 0).any()
    assert target.columns == {"text": "tokens", "label": "tags", "group": "doc"}
    assert target.tags_at(range(60)) == data["tags"].tolist()
    assert together(target, [0, 3, 4, 8]).tolist() == [0, 0, 1, 2]
    plain = load_target(data)
    assert plain.groups is None
    assert plain.columns["group"] is None


def test_groups_reach_what_is_trained_and_scored():
    from advisor.tuning import tuning_data

    target = load_target(grouped(), group="doc")
    data = tuning_data(target, kind=kind_of(target), seed=0)
    for part, rows in ((data.train, target.train), (data.test, target.test)):
        expected = np.unique(target.groups[rows], return_inverse=True)[1]
        assert np.unique(part.groups, return_inverse=True)[1].tolist() == expected.tolist()
        assert len(part.groups) == len(rows) > len(np.unique(expected))


def test_missing_groups_stand_alone_and_numbers_are_equal_however_written():
    data = grouped(60).assign(doc=[3.0, 3.0, None, " ", float("nan")] + [float(i // 2) for i in range(10, 65)])
    target = load_target(data, group="doc")
    assert target.groups[:5].tolist() == [0, 0, 1, 2, 3]
    assert len(set(target.groups.tolist())) == 4 + 28
    both = {"train": data.assign(doc=[i // 2 for i in range(60)]), "test": grouped(20, start=60).assign(doc=["7"] * 20)}
    assert any(
        "leakage: 20 validation or test rows are of a group" in line for line in load_target(both, group="doc").warnings
    )


def test_a_sentence_that_every_group_holds_does_not_link_them():
    data = grouped(100, size=5)
    for row in range(0, 100, 5):
        data.at[row, "tokens"], data.at[row, "tags"] = ["OSLO", "today"], ["B-place", "O"]
    target = load_target(data, group="doc")
    assert [len(side) for side in sides(target)][1:] == [3, 4]
    assert not set.intersection(*sides(target)[1:])
    assert len(np.unique(together(target, range(100)))) == 20
    of_train = set(target.text_ids[target.train].tolist())
    assert not of_train & set(target.text_ids[target.test].tolist())  # the earlier copies left
    assert target.n_dropped["leaked"] == 16


def test_copies_link_groups_where_enough_remain():
    data = grouped(60)
    data.at[4, "tokens"], data.at[4, "tags"] = data.at[1, "tokens"], data.at[1, "tags"]
    target = load_target(data, group="doc")
    assert any({0, 1} <= side for side in sides(target))
    assert target.n_leaked == 0
    assert len(np.unique(together(target, range(60)))) == 14


def test_groups_that_are_too_few_are_refused():
    data = grouped(60, size=15)
    with pytest.raises(DataError, match="4 training groups in column 'doc' hold an entity") as caught:
        load_target(data, group="doc")
    assert "5 are needed: 3 to learn from, 1 for test and 1 for validation" in caught.value.why
    assert [len(side) for side in sides(load_target(grouped(60, size=12), group="doc"))] == [3, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_groups_with_and_without_entities_leave_some_in_every_split(seed):
    data = grouped(90, size=3).sample(frac=1, random_state=seed)
    order = {name: number for number, name in enumerate(sorted(set(data["doc"])))}
    data["tags"] = [tags if order[doc] < 5 else ["O"] * 4 for tags, doc in zip(data["tags"], data["doc"], strict=True)]
    target = load_target(data, group="doc", seed=seed)
    for rows in (target.train, target.validation, target.test):
        assert (target.labels[rows] > 0).any()


def test_groups_are_named_by_one_column_of_single_values():
    data = grouped()
    with pytest.raises(DataError, match=r"no column 'docs'\. Did you mean 'doc'"):
        load_target(data, group="docs")
    with pytest.raises(OptionError, match="--group names the column 'tokens', which holds words or tags"):
        load_target(data, group="tokens")
    with pytest.raises(DataError, match="row 1: the group is of type list"):
        load_target(data.assign(doc=[["a"]] * 60), group="doc")
    with pytest.raises(OptionError, match="sentences that are given as lists"):
        load_target(sentences(), group="doc")


def conll(path: Path, *, n: int, size: int) -> Path:
    data = grouped(n, size=size)
    lines = []
    for row, (tokens, tags) in enumerate(zip(data["tokens"], data["tags"], strict=True)):
        lines += ["-DOCSTART- O", ""] if row % size == 0 else []
        lines += [*(f"{word} {tag}" for word, tag in zip(tokens, tags, strict=True)), ""]
    path.write_text("\n".join(lines))
    return path


def test_documents_of_a_conll_file_are_kept_whole(tmp_path):
    path = conll(tmp_path / "a.conll", n=60, size=4)
    target = load_target(path)
    assert target.groups.tolist() == [i // 4 for i in range(60)]
    assert [len(side) for side in sides(target)] == [9, 3, 3]
    assert len(set.union(*sides(target))) == 15
    assert target.columns == {"text": "first column", "label": "last column", "group": "-DOCSTART- lines"}
    assert target.warnings == (
        f"{path}: -DOCSTART- lines mark 15 documents; the sentences of a document stay in one split",
    )
    with pytest.raises(OptionError, match="--group does not go with tagged sentences in a CoNLL file") as caught:
        load_target(path, group="doc")
    assert "-DOCSTART- mark its documents" in caught.value.why


def test_documents_are_left_aside_where_they_are_few_or_splits_are_given(tmp_path):
    few = load_target(conll(tmp_path / "few.conll", n=60, size=15))
    assert few.groups is None
    assert [len(rows) for rows in (few.train, few.validation, few.test)] == [38, 10, 12]
    assert "mark 4 documents, too few to keep them whole" in few.warnings[0]
    one = load_target(conll(tmp_path / "one.conll", n=60, size=60))
    assert (one.groups, one.warnings) == (None, ())
    (tmp_path / "d").mkdir()
    conll(tmp_path / "d" / "train.conll", n=60, size=4)
    write(tmp_path / "d" / "test.jsonl", *sentences(20, start=100))
    given = load_target(tmp_path / "d")
    assert (given.groups, given.warnings, given.given_splits) == (None, (), ("train", "test"))


def test_groups_of_the_data_go_with_a_conll_file_of_test_sentences(tmp_path):
    test = tmp_path / "test.conll"
    test.write_text("".join(f"Bob B-person\nw{i} O\n\n" for i in range(7)))
    target = load_target(grouped(), group="doc", test=test)
    assert target.groups.tolist() == [*(i // 4 for i in range(60)), *range(15, 22)]
    assert len(target.test) == 7


def test_the_fingerprint_is_of_words_tags_and_splits(tmp_path):
    tokens, tags = sentences()
    same = load_target((tokens, tags)).fingerprint
    assert load_target(write(tmp_path / "a.jsonl", tokens, tags)).fingerprint == same
    other_words = [[*tokens[0][:3], "other"], *tokens[1:]]
    cut = [["theyb", "oth", *tokens[0][2:]], *tokens[1:]]  # the same letters in other words
    other_tags = [*tags[:1], ["O", "B-person", "O", "O"], *tags[2:]]
    renamed = [[tag.replace("place", "site") for tag in row] for row in tags]
    for data in ((other_words, tags), (cut, tags), (tokens, other_tags), (tokens, renamed)):
        assert load_target(data).fingerprint != same
    assert load_target((tokens, tags), seed=1).fingerprint != same


@pytest.mark.parametrize(
    "option",
    [{"group": "g"}, {"text_pair": "b"}, {"image": "i"}, {"images_root": "r"}, {"drop_rare": True}],
    ids=lambda o: next(iter(o)),
)
def test_options_of_other_data_are_refused(option):
    name = next(iter(option)).replace("_", "-")
    with pytest.raises(OptionError, match=f"--{name} does not go with tagged sentences"):
        load_target(sentences(), **option)


def test_too_few_sentences_with_entities_are_refused():
    tokens = [["a", f"w{i}"] for i in range(50)]
    tags = [["B-x", "O"]] * 4 + [["O", "O"]] * 46
    with pytest.raises(DataError, match=r"4 different training sentences hold an entity(.|\n)*5 are needed"):
        load_target((tokens, tags))
    with pytest.raises(DataError, match="1 different training sentence holds an entity"):
        load_target(([["a", "b"]] * 30, [["B-x", "O"]] * 30))
    tags[4] = ["B-y", "O"]
    target = load_target((tokens, tags))  # five are enough, of whatever type
    for part in (target.train, target.validation, target.test):
        assert any(name != "O" for row in target.tags_at(part) for name in row)


def test_a_given_split_without_entities_is_refused(tmp_path):
    tokens, tags = sentences(20, start=100)
    empty = tokens, [["O"] * len(row) for row in tags]
    with pytest.raises(DataError, match=r"the validation split of .* holds no entity"):
        load_target(folder(tmp_path / "d", train=sentences(60), validation=empty))


def test_columns_that_the_user_names_decide_what_data_is(tmp_path):
    tokens, tags = sentences()
    frame = pd.DataFrame(
        {"toks": tokens, "spans": tags, "text": [" ".join(w) for w in tokens], "label": ["a", "b"] * 30}
    )
    assert not is_tagged(frame)
    assert is_tagged(frame, text="toks", label="spans")
    assert load_target(frame, text="toks", label="spans").columns["text"] == "toks"
    assert isinstance(kind_of(load_target(frame, text="text", label="label")), Texts)
    both = frame.rename(columns={"toks": "tokens", "spans": "tags"})
    assert is_tagged(both)
    assert isinstance(kind_of(load_target(both, text="text", label="label")), Texts)
    both.to_parquet(tmp_path / "both.parquet")
    assert is_tagged(tmp_path / "both.parquet")
    assert not is_tagged(tmp_path / "both.parquet", text="text", label="label")


def test_real_sets_are_divided(shared_data):
    target = load_target(shared_data / "ner" / "wnut17")
    assert (len(target.train), len(target.validation), len(target.test)) == (3394, 1009, 1287)
    assert len(target.class_names) == 13


def test_sentences_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(advisor.data.read, "ask_hub", lambda name, kind: "found")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    names = ["O", "B-person", "I-person", "B-place"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )

    def made(n: int, start: int) -> datasets.Dataset:
        tokens, tags = sentences(n, start=start)
        numbers = [[names.index(tag) for tag in row] for row in tags]
        return datasets.Dataset.from_dict({"tokens": tokens, "ner_tags": numbers}, features=features)

    asked = []

    def load(name: str) -> datasets.DatasetDict:
        asked.append(name)
        return datasets.DatasetDict(train=made(60, 0), test=made(30, 60), extra=made(30, 90))

    monkeypatch.setattr(datasets, "load_dataset", load)
    target = load_target("someone/entities")
    assert asked == ["someone/entities"]  # fetched once, to look at it and to read it
    assert (target.name, target.class_names, len(target.test)) == ("entities", tuple(names), 30)
    assert any("splits that were ignored: extra" in warning for warning in target.warnings)
    assert read_sentences("someone/entities")[0] == sentences(30, start=60)[0]
