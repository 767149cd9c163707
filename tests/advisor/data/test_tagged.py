"""Tagged sentences from every source, and what is refused, counted or said."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from advisor.data.schemes import illegal_transitions, tag_scheme
from advisor.data.sentences import read_sentences, read_tagged
from advisor.data.tagged import EntityCounts, TaggedSentences, count_entities
from helpers.recognised import is_tagged
from tuner.errors import DataError, MissingFileError, OptionError

TOKENS = [["EU", "rejects", "German", "call"], ["Peter", "Blackburn"], ["BRUSSELS", "1996-08-22"]]
TAGS = [["B-org", "O", "B-misc", "O"], ["B-person", "I-person"], ["B-place", "O"]]
NAMES = ("O", "B-misc", "B-org", "B-person", "I-person", "B-place")
CONLL = """-DOCSTART- -X- O O

EU NNP I-NP B-org
rejects VBZ I-VP O
German JJ I-NP B-misc
call NN I-NP O

Peter NNP I-NP B-person
Blackburn NNP I-NP I-person

-DOCSTART- -X- O O
BRUSSELS NNP I-NP B-place
1996-08-22 CD I-NP O
"""


def only(data: object, **options: object) -> TaggedSentences:
    parts = read_tagged(data, **options).parts
    assert list(parts) == ["all"]
    return parts["all"]


def lists(sentences: TaggedSentences) -> tuple[list[list[str]], list[list[str]]]:
    return [list(words) for words in sentences.tokens], [list(tags) for tags in sentences.tags]


def write(path: Path, content: str, *, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def frame(tokens: list | None = None, tags: list | None = None) -> pd.DataFrame:
    return pd.DataFrame({"tokens": tokens or TOKENS, "tags": tags or TAGS})


# --- sources


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.bio"])
@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_conll_files_are_read_by_their_first_and_last_column(tmp_path: Path, name: str, separator: str) -> None:
    path = write(tmp_path / name, CONLL.replace(" ", separator))
    assert is_tagged(path)
    data = read_tagged(path)
    assert lists(data.parts["all"]) == (TOKENS, TAGS)
    assert data.parts["all"].tag_names == NAMES
    assert data.columns == {"text": "first column", "label": "last column"}
    assert data.name == "a"
    assert data.warnings == ()


def test_conll_words_may_hold_white_space_that_is_no_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "b.conll", "1\xa0000 O\nEUR B-unit\n")
    assert lists(only(path)) == ([["1\xa0000", "EUR"]], [["O", "B-unit"]])
    assert only(write(tmp_path / "c.conll", "1 B-number")).tokens == (("1",),)
    path = write(tmp_path / "a.conll", "New York\tB-place\r\n\xa0\tO\r\n\t\r\n#\tO\r\na\u2028b\tO")
    assert lists(only(path)) == ([["New York", "\xa0"], ["#", "a\u2028b"]], [["B-place", "O"], ["O", "O"]])


def test_conll_comments_and_encodings_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "# id 7\tdomain=en\nEU _ _ B-org\nall _ _ O\n\n# id 8\nx _ _ O\n")
    data = read_tagged(path)
    assert lists(data.parts["all"]) == ([["EU", "all"], ["x"]], [["B-org", "O"], ["O"]])
    assert data.warnings == ("a.conll: 2 comment lines were skipped",)
    with pytest.raises(DataError, match="'end'"):  # inside a sentence # is a word
        read_tagged(write(tmp_path / "c.conll", "EU B-org\n# the end\n"))
    spanish = "Cañizares B-person\naños O\nentrenó O\nmás O\nallá O\n\n" * 30
    data = read_tagged(write(tmp_path / "b.conll", spanish, encoding="cp1252"))
    assert data.parts["all"].tokens[0] == ("Cañizares", "años", "entrenó", "más", "allá")
    assert data.warnings == ("b.conll is not UTF-8 (line 1); it was read as Windows-1252",)


def test_frames_of_lists_arrays_and_json_give_the_same(tmp_path: Path) -> None:
    as_arrays = frame([np.array(words) for words in TOKENS], [np.array(tags) for tags in TAGS])
    as_json = frame([json.dumps(words) for words in TOKENS], [json.dumps(tags) for tags in TAGS])
    as_python = frame([str(words) for words in TOKENS], [str(tags) for tags in TAGS])
    for data in (frame(), as_arrays, as_json, as_python):
        assert is_tagged(data)
        assert lists(only(data)) == (TOKENS, TAGS)


def test_files_of_every_format_give_the_same(tmp_path: Path) -> None:
    frame().to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame().to_json(tmp_path / "a.json", orient="records")
    frame().to_parquet(tmp_path / "a.parquet")
    as_json = frame([json.dumps(words) for words in TOKENS], [json.dumps(tags) for tags in TAGS])
    as_json.to_csv(tmp_path / "a.csv", index=False)
    as_json.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    for name in ("a.jsonl", "a.json", "a.parquet", "a.csv", "a.tsv"):
        assert is_tagged(tmp_path / name), name
        assert lists(only(tmp_path / name)) == (TOKENS, TAGS), name


def test_lists_of_mixed_values_in_json_are_words(tmp_path: Path) -> None:
    rows = [{"tokens": ["in", 1996, None, 1.5], "tags": ["O", "B-date", "O", "O"]}, {"tokens": ["x"], "tags": ["O"]}]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert only(path).tokens == (("in", "1996", "", "1.5"), ("x",))
    half = only(frame([["half \ud800 pair"]], [["B-a"]]))
    assert half.tokens == (("half ? pair",),)


def test_numbered_tags_have_names(tmp_path: Path) -> None:
    names = ["B-place", "O", "B-org", "I-org", "B-misc", "B-person", "I-person"]
    numbers = [[names.index(tag) for tag in tags] for tags in TAGS]
    sentences = only(frame(tags=[np.array(row, float) for row in numbers]), tag_names=names)
    assert lists(sentences) == (TOKENS, TAGS)
    # The order of the names is kept; those that no word has are left out.
    assert sentences.tag_names == ("B-place", "O", "B-org", "B-misc", "B-person", "I-person")
    assert [row.tolist() for row in sentences.tag_numbers] == [[2, 1, 3, 1], [4, 5], [0, 1]]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    made = datasets.Dataset.from_dict({"tokens": TOKENS, "ner_tags": numbers}, features=features)
    made.to_parquet(tmp_path / "a.parquet")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "saved")
    for data in (made, tmp_path / "a.parquet", {"train": made}, tmp_path / "saved"):
        assert is_tagged(data)
        found = read_tagged(data)
        assert lists(next(iter(found.parts.values()))) == (TOKENS, TAGS)
        assert found.columns == {"text": "tokens", "label": "ner_tags"}


def test_every_split_and_shard_is_named_by_its_own_list(tmp_path: Path) -> None:
    def made(names: list[str]) -> datasets.Dataset:
        kind = datasets.List(datasets.ClassLabel(names=names))
        features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": kind})
        rows = {"tokens": TOKENS, "ner_tags": [[names.index(tag) for tag in tags] for tags in TAGS]}
        return datasets.Dataset.from_dict(rows, features=features)

    names = list(NAMES)
    one, other = made(names), made([*names[::-1], "B-never"])
    both = datasets.DatasetDict({"train": one, "test": other})
    both.save_to_disk(tmp_path / "saved")
    for folder, parts in (
        ("a", {"train": one, "test": other}),
        ("b", {f"train-0000{i}-of-00002": d for i, d in enumerate((one, other))}),
    ):
        (tmp_path / folder).mkdir()
        for name, part in parts.items():
            part.to_parquet(tmp_path / folder / f"{name}.parquet")
    for data in (both, tmp_path / "saved", tmp_path / "a"):
        parts = read_tagged(data).parts
        assert {name: lists(part) for name, part in parts.items()} == {"train": (TOKENS, TAGS), "test": (TOKENS, TAGS)}
        assert {part.tag_names for part in parts.values()} == {NAMES}
    assert lists(read_tagged(tmp_path / "b").parts["train"]) == (TOKENS * 2, TAGS * 2)
    masked = other.map(
        lambda row: {"ner_tags": [-1] * len(row["tokens"])},
        features=datasets.Features(
            {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.Value("int64"))}
        ),
    )
    assert list(read_tagged({"train": one, "test": masked}).parts) == ["train"]


def test_folders_have_splits_that_share_their_names(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", CONLL)
    write(tmp_path / "dev.conll", "Rome\tB-city\n")
    write(tmp_path / "test.tsv", "EU\tB-org\n\nno\tO\n")
    write(tmp_path / "README.md", "about")
    assert is_tagged(tmp_path)
    data = read_tagged(tmp_path)
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 3, "validation": 1, "test": 2}
    names = ("O", "B-city", *NAMES[1:])
    assert all(part.tag_names == names for part in data.parts.values())
    assert data.parts["validation"].tag_numbers[0].tolist() == [1]
    assert list(read_tagged(tmp_path, split="dev").parts) == ["all"]
    assert len(read_tagged(tmp_path, split="dev").parts["all"]) == 1
    with pytest.raises(OptionError, match="has no such split"):
        read_tagged(tmp_path, split="tset")
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match="more than one train file"):
        read_tagged(tmp_path)


def test_without_a_training_split_the_rest_is_used_and_said() -> None:
    data = read_tagged({"dev": frame(), "test": frame()})
    assert list(data.parts) == ["train", "test"]
    assert data.warnings == ("the data has no training split: its validation split is trained on",)


def test_a_split_without_tags_is_left_out(tmp_path: Path) -> None:
    masked = {"train": frame(), "test": frame(tags=[[], None, []])}
    data = read_tagged(masked)
    assert list(data.parts) == ["train"]
    assert data.warnings == ("the test split of the data has no tags: it was not used",)
    with pytest.raises(DataError, match="in 3 of 3 sentences"):
        read_tagged(frame(tags=[[], None, []]))


def test_tables_of_texts_and_missing_files_are_not_tagged(tmp_path: Path) -> None:
    texts = pd.DataFrame({"text": ["a film", "a plot"], "label": ["good", "bad"]})
    texts.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    texts.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    texts.to_parquet(tmp_path / "a.parquet")
    write(tmp_path / "a.txt", "one line\n\nanother line\n")
    write(tmp_path / "b.txt", "just words\n")
    words = pd.DataFrame({"words": ["a film", "a plot"], "label": ["good", "bad"]})
    for data in (texts, words, *tmp_path.iterdir(), tmp_path, tmp_path / "none.conll", (["a"], ["b"]), {}, 5):
        assert not is_tagged(data), data
    with pytest.raises(MissingFileError, match="does not exist"):
        read_tagged(tmp_path / "none.conll")


REVIEW = '"[the kid\'s] just too bratty to like"'


@pytest.mark.parametrize(
    ("header", "rows", "options"),
    [
        ("text,label", [f"{REVIEW},bad", "a fine plot,good"], {"text": "text"}),
        ("text,label", [f"{REVIEW},bad", '"[sic], he said",good'], {"text": "text", "label": "label"}),
        ("words,label", [f"{REVIEW},bad", "a fine plot,good"], {}),
        ("first,second,label", [f"{REVIEW},a plot,bad", 'a plot,"[1]",good'], {"text": "first", "label": "label"}),
        ("words,labels", ['"[1] a note","[""x"", ""y""]"', 'a plot,"[""x""]"'], {}),
    ],
)
def test_a_bracket_in_a_text_makes_no_tagged_sentences(
    tmp_path: Path, header: str, rows: list[str], options: dict[str, str]
) -> None:
    assert not is_tagged(write(tmp_path / "a.csv", "\n".join([header, *rows]) + "\n"), **options)
    lines = [header.replace(",", "\t"), *(row.replace('",', '"\t').replace("plot,", "plot\t") for row in rows)]
    assert not is_tagged(write(tmp_path / "a.tsv", "\n".join(lines) + "\n"), **options)


def test_lists_in_delimited_files_are_found_however_they_are_written(tmp_path: Path) -> None:
    rows = [(json.dumps(words), json.dumps(tags)) for words, tags in zip(TOKENS, TAGS, strict=True)]
    doubled = [f'"{cell}"' for row in rows for cell in (text.replace('"', '""') for text in row)]
    escaped = [f'"{cell}"' for row in rows for cell in (text.replace('"', '\\"') for text in row)]
    for name, cells in (("a.csv", doubled), ("b.csv", escaped)):
        lines = [f"{one};{other}" for one, other in zip(cells[::2], cells[1::2], strict=True)]
        path = write(tmp_path / name, "\n".join(['"tokens";"tags"', ";", *lines]) + "\n")
        assert is_tagged(path), name
        assert lists(only(path)) == (TOKENS, TAGS), name
    path = write(tmp_path / "c.csv", "tokens,tags\n" + '"[""EU""]","[""B-org""]"\n' * 20_000)  # more than is looked at
    assert is_tagged(path)
    broken = "tokens,tags\n" + '"[""EU""]","[""B-org""]"\n' * 3 + '"[""EU""","[""B-org""]"\n'
    path = write(tmp_path / "d.csv", broken)
    assert is_tagged(path)
    with pytest.raises(DataError, match="row 4: the cell holds no list"):
        read_tagged(path)


@pytest.mark.parametrize("first", [{"tokens": None, "tags": None}, {"id": 1}, {"tokens": [], "tags": []}])
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_first_row_without_words_or_tags_does_not_decide(tmp_path: Path, first: dict, ending: str) -> None:
    rows = [first, *({"tokens": words, "tags": tags} for words, tags in zip(TOKENS, TAGS, strict=True))]
    content = json.dumps(rows, indent=1) if ending == "json" else "\n".join(map(json.dumps, rows))
    path = write(tmp_path / f"a.{ending}", content)
    assert is_tagged(path)
    data = read_tagged(path)
    assert lists(data.parts["all"]) == (TOKENS, TAGS)
    assert data.warnings == (f"{path}: 1 sentence without a word was left out",)
    texts = [{"tags": None}, *({"text": "a film", "label": label} for label in "abc")]
    assert not is_tagged(write(tmp_path / f"b.{ending}", "\n".join(map(json.dumps, texts))))
    assert not is_tagged(write(tmp_path / f"c.{ending}", '{"tokens": ["a"], "ta'))


# --- schemes


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IO", ["I-a", "I-b", "O", "I-a"]),
        ("IOB1", ["I-a", "B-a", "I-a", "O", "I-b"]),
        ("BIO", ["B-a", "B-a", "I-a", "O", "B-b"]),
        ("BIO", ["B-a", "O", "B-b"]),
        ("BIOES", ["S-a", "B-a", "E-a", "O", "S-b"]),
        ("BIOES", ["B-a", "I-a", "E-a"]),
        ("BILOU", ["U-a", "B-a", "L-a", "O", "U-b"]),
        ("BILOU", ["B-a", "I-a", "L-a"]),
    ],
)
def test_schemes_are_told_by_their_letters_and_nothing_in_them_is_illegal(scheme: str, tags: list[str]) -> None:
    assert tag_scheme([tags]) == scheme
    assert illegal_transitions(tags, scheme=scheme) == ()


def test_a_few_wrong_tags_do_not_change_the_scheme() -> None:
    assert tag_scheme([["B-a", "I-a", "O", "B-b"], ["O", "I-a"]]) == "BIO"
    assert tag_scheme([["I-a", "B-a", "O", "I-b"], ["O", "B-a"]]) == "IOB1"


@pytest.mark.parametrize(
    ("scheme", "tags", "positions"),
    [
        ("BIO", ["I-a", "I-a", "I-b", "O", "I-b"], (0, 2, 4)),
        ("BIO", ["B-a", "I-b"], (1,)),
        ("IOB1", ["B-a", "B-a", "B-b"], (0, 2)),
        ("BIOES", ["I-a", "E-a", "O", "E-a"], (0, 3)),
        ("BIOES", ["B-a", "S-a", "S-a", "I-a"], (1, 3, 4)),
        ("BIOES", ["B-a", "E-b", "E-b"], (1, 2)),
        ("BILOU", ["B-a", "O", "L-a", "U-a", "B-a"], (1, 2, 5)),
    ],
)
def test_illegal_transitions_are_found(scheme: str, tags: list[str], positions: tuple[int, ...]) -> None:
    assert illegal_transitions(tags, scheme=scheme) == positions


def test_illegal_transitions_are_counted_and_said_without_words() -> None:
    data = read_tagged((TOKENS, [["O", "I-org", "B-misc", "O"], ["B-person", "I-org"], ["B-place", "O"]]))
    assert data.parts["all"].n_illegal == 2
    assert data.warnings == (
        "the data: 2 transitions between tags are illegal in BIO, such as I-org after O (sentence 1, word 2); they are "
        "kept, and read as conlleval reads them",
    )
    assert data.parts["all"].take([1, 2]).n_illegal == 1
    ended = read_tagged((TOKENS, [["S-a"] * 4, ["O", "B-a"], ["I-a", "E-a"]]))
    assert (
        "2 transitions between tags are illegal in BIOES, such as the end after B-a (sentence 2)" in ended.warnings[0]
    )
    begun = read_tagged((TOKENS, [["B-a"] * 4, ["O", "B-a"], ["I-a", "I-a"]]))
    assert "1 transition between tags is illegal in BIO, such as I-a after the beginning (sent" in begun.warnings[0]


def test_tags_without_types_or_letters_are_read_and_said() -> None:
    data = read_tagged((TOKENS, [["B", "O", "B", "O"], ["B", "I"], ["O", "O"]]))
    assert data.parts["all"].tag_names == ("O", "B-ENTITY", "I-ENTITY")
    assert data.warnings == ("the data: the tags name no type of entity; it is called ENTITY here",)
    data = read_tagged((TOKENS, [["org", "O", "art-music", "O"], ["person", "person"], ["O", "O"]]))
    assert data.parts["all"].tags[1] == ("I-person", "I-person")
    assert data.parts["all"].scheme == "IO"
    assert "have no B- or I- before the type" in data.warnings[0]
    data = read_tagged((TOKENS, [["B_org", "O", "B_work_of_art", "O"], ["O", "O"], ["O", "O"]]))
    assert data.parts["all"].tag_names == ("O", "B-org", "B-work_of_art")


def test_tag_names_are_in_order_and_hold_the_outside() -> None:
    every = [["B-b", "I-b", "E-b", "S-b"], ["B-a", "E-a"], ["S-a", "S-a"]]
    assert only((TOKENS, every)).tag_names == ("O", "B-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b")
    assert only((TOKENS, every), tag_names=["S-a"]).tag_names[0] == "O"


# --- what is refused


@pytest.mark.parametrize(
    ("tags", "odd"),
    [
        ([["NOUN", "VERB", "ADJ", "NOUN"], ["NOUN", "NOUN"], ["NOUN", "NUM"]], "4 of 4 different tags .*'ADJ', 'NOUN'"),
        ([["B-org", "O", "misc", "O"], ["O", "O"], ["O", "O"]], "1 of 3 different tags are no entity tags: 'misc'"),
        ([["org-B", "O", "org-I", "O"], ["O", "O"], ["O", "O"]], "'org-B', 'org-I'"),
        ([["b-org", "O", "i-org", "O"], ["O", "O"], ["O", "O"]], "'b-org', 'i-org'"),
        ([["", "O", "O", "O"], ["O", "O"], ["O", "O"]], "''"),
    ],
)
def test_other_tags_of_words_are_refused(tags: list[list[str]], odd: str) -> None:
    with pytest.raises(DataError, match=odd) as caught:
        read_tagged((TOKENS, tags))
    assert "parts of speech, are not supported" in caught.value.why
    assert "--label" in caught.value.fix


def test_tags_that_do_not_match_words_are_refused_with_their_rows() -> None:
    tags = [["O"] * 4, ["B-person"], ["B-place", "O", "O"]]
    with pytest.raises(DataError) as caught:
        read_tagged((TOKENS, tags))
    assert caught.value.what == (
        "the data: in 2 of 3 sentences the tags do not match the words in number: row 2 (2 words, 1 tags), "
        "row 3 (2 words, 3 tags)"
    )
    assert caught.value.why == "the n-th tag is of the n-th word"
    assert "leave the sentences out" in caught.value.fix
    with pytest.raises(DataError, match=r"row 1 .*row 2 .*row 3 \(1 words, 0 tags\), \.\.\."):
        read_tagged(([["a"]] * 5, [[]] * 4 + [["B-a"]]))
    with pytest.raises(DataError, match="the validation split of the data: in 1 of 3"):
        read_tagged({"train": frame(), "dev": frame(tags=[TAGS[0], TAGS[1], ["O"]])})


def test_conll_lines_without_a_tag_are_refused_with_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "EU B-org\nrejects\n\ncall O\nnow\n")
    with pytest.raises(DataError, match="2 lines have a word but no tag: lines 2, 5") as caught:
        read_tagged(path)
    assert "O outside entities" in caught.value.fix
    path = write(tmp_path / "u.conll", "1\tEU\tB-org\n2\tall\tO\n\n1\tx\tO\n")
    with pytest.raises(DataError, match="counts the words of a sentence, as in CoNLL-U"):
        read_tagged(path)
    with pytest.raises(DataError, match="holds no words"):
        read_tagged(write(tmp_path / "e.conll", "-DOCSTART- O\n\n"))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (frame(tags=[[1, 0, 2, 0], [1, 1], [0, 0]]), "tags are numbers without names, from 0 to 2"),
        (frame(tags=[["O"] * 4, ["O"] * 2, ["O"] * 2]), "holds no entity"),
        (frame(tags=[["B-a", "E-a", "O", "O"], ["U-a", "O"], ["O", "O"]]), "letters B, E, U follow no scheme"),
        (frame(tags=[["I-a", "E-a", "O", "O"], ["E-a", "O"], ["O", "O"]]), "letters E, I follow no scheme"),
        (frame(tokens=["EU rejects German call", "Peter Blackburn", "x y"]), "row 1: the cell holds no list"),
        (frame(tokens=[[["EU"], "b", "c", "d"], *TOKENS[1:]]), "row 1: a word is of type list, not text"),
        (frame(tokens=[[], [], []], tags=[[], [], []]), "holds no words"),
        (pd.DataFrame({"tokens": TOKENS, "x": TAGS}), "not clear which column holds the tags"),
        (pd.DataFrame({"x": TOKENS, "tags": TAGS}), "not clear which column holds the words"),
        ((TOKENS, TAGS[:2]), "3 sentences but 2 rows of tags"),
        (frame().head(0), "is empty"),
        ({"trian": frame()}, "the keys trian cannot be read. Did you mean 'train'"),
        (5, "data of type int cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(data: object, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        read_tagged(data)
    assert caught.value.why
    assert caught.value.fix


def test_numbers_without_names_are_refused_with_what_works() -> None:
    numbers = [[1, 0, 2, 0], [3, 4], [5, 0]]
    with pytest.raises(DataError, match="numbers without names") as caught:
        read_tagged(frame(tags=numbers))
    assert "ClassLabel" in caught.value.fix
    assert "tag_names" not in caught.value.fix  # the commands do not take it


def test_options_that_name_no_column_or_no_tag_are_said() -> None:
    with pytest.raises(DataError, match=r"no column 'tag'\. Did you mean 'tags'") as caught:
        read_tagged(frame(), label="tag")
    assert caught.value.fix == "pass --label with one of: tokens, tags"
    with pytest.raises(DataError, match="tag 2 has no name"):
        read_tagged(frame(tags=[[1, 0, 2, 0], [1, 1], [0, 0]]), tag_names=["O", "B-a"])
    named = pd.DataFrame({"w": TOKENS, "x": TAGS, "tokens": TAGS})
    assert lists(only(named, text="w", label="x")) == (TOKENS, TAGS)


@pytest.mark.parametrize(("option", "which"), [({"text": "w"}, "--text w"), ({"label": "t"}, "--label t")])
def test_columns_of_conll_files_cannot_be_named(tmp_path: Path, option: dict[str, str], which: str) -> None:
    path = write(tmp_path / "a.txt", CONLL)
    with pytest.raises(OptionError, match=f"{which} does not go with .*a.txt: it is a CoNLL file") as caught:
        read_tagged(path, **option)
    assert "the first holds the words and the last one the tags" in caught.value.why
    if "text" in option:
        with pytest.raises(OptionError, match="--text w does not go with"):
            read_sentences(path, **option)


# --- counts


def test_empty_sentences_are_dropped_and_duplicates_counted() -> None:
    tokens = [["a", "b"], [], ["a", "b"], ["c"], None, ["a", "b"]]
    tags = [["B-x", "O"], [], ["B-x", "O"], ["O"], None, ["O", "B-x"]]
    data = read_tagged((tokens, tags))
    sentences = data.parts["all"]
    assert (len(sentences), sentences.n_words, sentences.n_empty) == (4, 7, 2)
    assert data.warnings == ("the data: 2 sentences without a word were left out",)
    assert sentences.sentence_ids.tolist() == [0, 0, 1, 0]
    assert (sentences.n_duplicates, sentences.n_conflicting) == (2, 1)
    assert sentences.texts == ["a b", "a b", "c", "a b"]
    some = sentences.take(np.array([2, 0]))
    assert (some.tokens, some.n_duplicates, some.n_empty) == ((("c",), ("a", "b")), 0, 0)


def test_entities_are_counted_by_type() -> None:
    assert count_entities(TAGS) == EntityCounts(
        total=4, by_type={"misc": 1, "org": 1, "person": 1, "place": 1}, n_sentences=3
    )
    assert count_entities([["U-a", "U-a", "B-b", "L-b"], ["O"]]) == EntityCounts(
        total=3, by_type={"a": 2, "b": 1}, n_sentences=1
    )
    assert count_entities([]).total == 0


@pytest.mark.parametrize(
    ("name", "entities", "types"), [("wnut17", 3890, 6), ("ncbi_disease", 6881, 1)], ids=["wnut17", "ncbi_disease"]
)
def test_real_sets_hold_the_entities_that_their_descriptions_count(
    shared_data: Path, name: str, entities: int, types: int
) -> None:
    data = read_tagged(shared_data / "ner" / name)
    counts = [count_entities(part.tags) for part in data.parts.values()]
    assert sum(count.total for count in counts) == entities
    assert len(counts[0].by_type) == types
    assert list(data.parts) == ["train", "validation", "test"]
    assert {part.scheme for part in data.parts.values()} == {"BIO"}
