"""Which texts belong to one document, and how broad a source is."""

import dataclasses
import json
import random

import numpy as np
import pytest

from advisor.cli import run
from advisor.similarity import build, library
from advisor.similarity.breadth import NARROW_BELOW, breadth, narrow_note
from advisor.similarity.build import build_profile
from advisor.similarity.documents import documents_by_name, is_running_text, number_documents
from advisor.similarity.library import build_from_files, describe_profile, find_profile, list_profiles, load_profile
from advisor.similarity.passages import (
    STRATUM,
    SourceText,
    cut_passages,
    one_of_each,
    read_source_text,
    segment_numbers,
)
from advisor.similarity.profile_files import read_values
from helpers import tiny
from tuner.errors import DataError, OptionError
from tuner.inputs.images import ImageInputs
from tuner.model.assemble import load_backbone


@pytest.fixture(scope="module")
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(tmp_path / "home"))


def made_up(rng, *, letters=6):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(letters))


def documents(n, *, rows, seed=0):
    """`n` documents of `rows` sentences, each with names of its own beside words that all share."""
    rng = random.Random(seed)
    common = [made_up(rng) for _ in range(300)]
    found = []
    for _ in range(n):
        names = [made_up(rng, letters=9) for _ in range(4)]
        found.append([" ".join(rng.sample(common, 7) + rng.sample(names, 2)) + " ." for _ in range(rows)])
    return found


def of_tiny(n, *, words=(6, 14), seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choice(tiny.WORDS) for _ in range(rng.randint(*words))) + " ." for _ in range(n)]


# --- documents


def test_neighbours_that_are_alike_make_running_text_and_shuffled_ones_do_not():
    rows = [row for document in documents(30, rows=20) for row in document]
    assert is_running_text(rows)
    assert number_documents(rows) == (0,) * 600
    random.Random(1).shuffle(rows)
    assert not is_running_text(rows)
    assert number_documents(rows) == tuple(range(600))


def test_rows_sorted_by_class_are_documents_of_their_own():
    # rows of a class are as alike at fifty rows' distance as next to one another
    rows = [row for of_class in documents(4, rows=1000) for row in of_class]
    assert number_documents(rows) == tuple(range(4000))


def test_scripts_without_spaces_are_told_as_well():
    rng = random.Random(0)
    scenes = [[chr(0x4E00 + rng.randrange(3000)) for _ in range(40)] for _ in range(30)]
    rows = ["".join(rng.choice(scene) for _ in range(30)) + "。" for scene in scenes for _ in range(20)]
    assert not is_running_text(["".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(30)) for _ in range(600)])
    names = ["".join(scene[:6]) for scene in scenes for _ in range(20)]
    assert is_running_text([f"{name} {row}" for name, row in zip(names, rows, strict=True)])


def test_few_or_equal_or_empty_texts_do_not_stop_the_count():
    assert number_documents([]) == ()
    assert number_documents(["one", "two"]) == (0, 0)
    assert set(number_documents(["the same"] * 300)) == set(range(300))
    assert number_documents(["?"] * 300) == tuple(range(300))


def test_short_files_are_judged_together(tmp_path):
    for number, rows in enumerate(documents(40, rows=15)):
        (tmp_path / f"{number:02}.txt").write_text("\n".join(rows))
    assert read_source_text([tmp_path]).documents == tuple(number for number in range(40) for _ in range(15))
    shuffled = [row for rows in documents(40, rows=15) for row in rows]
    random.Random(0).shuffle(shuffled)
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text("\n".join(shuffled[number * 15 : number * 15 + 15]))
    assert len(set(read_source_text([tmp_path]).documents)) == 600


def test_titles_begin_documents():
    wiki = ["= Hen =", "It lays .", "= = Food = =", "Corn .", "= Fox =", "It hunts ."]
    assert number_documents(wiki) == (0, 0, 0, 0, 1, 1)
    dump = ['<doc id="1" url="u" title="Hen">', "It lays.", "</doc>", '<doc id="2" title="Fox">', "It hunts.", "</doc>"]
    assert number_documents(dump) == (0, 0, 0, 1, 1, 1)


def test_empty_lines_divide_plain_text_where_what_they_divide_is_unlike(tmp_path):
    found = documents(60, rows=12)
    (tmp_path / "bert.txt").write_text("\n\n".join("\n".join(rows) for rows in found))
    read = read_source_text([tmp_path / "bert.txt"])
    assert read.documents == tuple(number for number in range(60) for _ in range(12))
    # one story in paragraphs: empty lines there divide nothing
    chapters = [rows[start : start + 3] for rows in documents(10, rows=60) for start in range(0, 60, 3)]
    (tmp_path / "story.txt").write_text("\n\n\n".join("\n".join(rows) for rows in chapters))
    assert set(read_source_text([tmp_path / "story.txt"]).documents) == {0}


@pytest.mark.parametrize("name", ["article", "Document ID", "title", "url"])
def test_a_column_named_like_a_document_says_which_it_is(tmp_path, name):
    rows = [{"text": f"row {i} of it", name: f"d{i % 7}"} for i in range(70)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_source_text([tmp_path / "a.jsonl"]).documents == tuple(range(7)) * 10


def test_a_column_that_is_mostly_empty_says_nothing(tmp_path):
    rows = [{"text": text, "title": "x" if i == 0 else None} for i, text in enumerate(of_tiny(400))]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_source_text([tmp_path / "a.jsonl"]).documents == tuple(range(400))
    assert documents_by_name(["x", None, None]) == (0, 1, 2)


def test_the_column_can_be_named(tmp_path):
    rows = [{"text": f"row {i} of it", "chapter": i // 10} for i in range(70)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert set(read_source_text([tmp_path / "a.jsonl"], group="chapter").documents) == set(range(7))
    with pytest.raises(DataError, match="'chapters'"):
        read_source_text([tmp_path / "a.jsonl"], group="chapters")
    (tmp_path / "a.txt").write_text("plain\n")
    with pytest.raises(OptionError, match=r"names a column, and .*a\.txt holds no table"):
        read_source_text([tmp_path / "a.txt"], group="chapter")


def test_documents_of_several_files_are_not_mixed_up(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("text,article\nfirst row,1\nsecond row,2\n")
    assert read_source_text([tmp_path]).documents == (0, 1, 2, 3)


# --- sampling


def test_segments_are_documents_where_there_are_enough_else_stretches():
    assert segment_numbers([0] * 20, list(range(20))) == list(range(20))
    few = segment_numbers([0] * 80, [0] * 40 + [1] * 40)
    assert few == [i // 2 for i in range(80)]
    # a folder with an article a file: the files are held out like documents of one
    assert segment_numbers(list(range(9)), list(range(9))) == list(range(9))
    # one broad file beside a novel
    mixed = segment_numbers([0] * 10 + [1] * 40, [*range(10), *[10] * 40])
    assert mixed == [*range(10), *(STRATUM + i for i in range(40))]


def test_every_document_gives_one_passage_and_is_on_one_side_only(backbone):
    texts = of_tiny(4000, words=(6, 9))
    article = [i // 4 for i in range(4000)]
    text = SourceText(texts=tuple(texts), parts=(4000,), documents=tuple(article))
    reference, held_out = build._sample(cut_passages(text, tokenizer=backbone.tokenizer)[0])
    for side, size in ((reference, 750), (held_out, 250)):  # of 1,000 articles
        assert len({passage.document for passage in side}) == len(side) == size
    assert not {p.document for p in reference} & {p.document for p in held_out}


def test_a_file_for_each_article_is_sampled_whatever_its_length(backbone):
    sizes = [2 if i % 5 else 20 for i in range(1200)]
    texts = of_tiny(sum(sizes), words=(6, 9))
    files = [i for i, size in enumerate(sizes) for _ in range(size)]
    text = SourceText(texts=tuple(texts), parts=tuple(sizes), documents=tuple(files))
    reference, _ = build._sample(cut_passages(text, tokenizer=backbone.tokenizer)[0])
    assert len(reference) == len({p.document for p in reference}) == 800
    assert sum(p.document % 5 == 0 for p in reference) == pytest.approx(160, abs=20)  # long files are not preferred


def test_fewer_documents_give_more_passages_each(backbone):
    texts = of_tiny(900, words=(6, 9))
    text = SourceText(texts=tuple(texts), parts=(900,), documents=tuple(i // 30 for i in range(900)))
    reference, held_out = build._sample(cut_passages(text, tokenizer=backbone.tokenizer)[0])
    assert len({p.document for p in reference}) == 23
    assert len({p.document for p in held_out}) == 7
    picked = one_of_each(reference, total=46, rng=np.random.default_rng(0))
    assert [p.document for p in picked] == sorted(list({p.document for p in reference}) * 2)


def test_a_small_source_is_used_up_however_long_its_documents_are(backbone):
    texts = of_tiny(110, words=(6, 9))
    numbers = [0] * 70 + [1] * 20 + [2] * 10 + [3] * 6 + [4] * 4
    text = SourceText(texts=tuple(texts), parts=(110,), documents=tuple(numbers))
    reference, held_out = build._sample(cut_passages(text, tokenizer=backbone.tokenizer)[0])
    assert len(reference) + len(held_out) == 110
    with pytest.raises(DataError, match="at most 90 passages were found to compare with and 20 of other documents"):
        build_profile(texts, backbone=backbone, name="small", documents=[0] * 20 + [1] * 90, parts=[20, 90])


def test_copies_of_a_text_count_once(backbone):
    texts = of_tiny(300)
    copies = [text for text in texts for _ in range(3)] + [text.upper() for text in texts]
    plain = build_profile(texts, backbone=backbone, name="x", stage_two=())
    copied = build_profile(copies, backbone=backbone, name="x", stage_two=(), documents=range(len(copies)))
    assert copied.bands[0].held_out.min() > 0
    np.testing.assert_array_equal(copied.bands[0].held_out, plain.bands[0].held_out)


# --- how broad


def test_a_band_counts_documents_not_rows(backbone, tmp_path):
    rows = [{"text": text, "article": i % 12} for i, text in enumerate(of_tiny(600))]
    (tmp_path / "twelve.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = build_from_files([tmp_path / "twelve.jsonl"], backbone=backbone)
    profile = load_profile(path)
    assert {band.documents for band in profile.bands} == {12}
    assert breadth(profile) == "12 documents"
    assert "is narrow: its passages come from 12 documents," in narrow_note(profile)
    assert [band["documents"] for band in describe_profile(path)["bands"]] == [12] * len(profile.bands)
    assert {p.name: p.documents for p in list_profiles()}["twelve"] == (12,) * len(profile.bands)


def test_a_broad_source_is_not_called_narrow(backbone):
    profile = build_profile(of_tiny(300), backbone=backbone, name="broad", stage_two=())
    assert min(band.documents for band in profile.bands) >= NARROW_BELOW
    assert narrow_note(profile) is None
    assert narrow_note(profile, []) is None


def test_the_warning_names_the_lengths_that_are_meant(backbone):
    profile = build_profile(of_tiny(300), backbone=backbone, name="half", stage_two=())
    few = dataclasses.replace(profile.bands[0], documents=30, lowest=17, highest=32)
    mixed = dataclasses.replace(profile, bands=(profile.bands[0], few))
    assert "its passages of 17 to 32 tokens come from 30 documents," in narrow_note(mixed)
    assert narrow_note(mixed, [0]) is None
    assert breadth(mixed, [1]) == "30 documents"


def test_one_file_of_running_text_is_narrow_and_a_file_each_is_not(backbone, tmp_path):
    rng = random.Random(0)
    for number in range(120):
        rows = [" ".join(rng.choice(tiny.WORDS) for _ in range(8)) + " ." for _ in range(4)]
        (tmp_path / f"{number}.txt").write_text(" ".join(rows))
    many = find_profile(tmp_path, backbone=backbone)
    assert many.bands[0].documents == 120
    assert len(np.unique(many.bands[0].segments)) > 20
    assert narrow_note(many) is None
    # one line says nothing of neighbours; a file is then what is known
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "story.txt").write_text(
        " ".join(" ".join(rng.choice(tiny.WORDS) for _ in range(8)) + "." for _ in range(400))
    )
    one = find_profile(tmp_path / "one", backbone=backbone)
    assert "come from 1 document," in narrow_note(one)


def test_a_profile_of_before_documents_were_counted_is_read(backbone, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "new.safetensors"
    library.save_profile(build_profile(of_tiny(300), backbone=backbone, name="old", stage_two=()), path)
    with safe_open(path, framework="numpy") as file:
        values = json.loads(file.metadata()["profile"])
    del values["documents"]
    tensors = load_file(path)
    for name in [name for name in tensors if name.endswith("segments")]:
        tensors[name] = np.array([3, 7, 43] + [47] * (len(tensors[name]) - 3), dtype=np.int32)
    save_file(tensors, tmp_path / "old.safetensors", metadata={"profile": json.dumps(values)})
    old = load_profile(tmp_path / "old.safetensors")
    assert old.bands[0].segments[:4].tolist() == [3, 7, STRATUM + 3, STRATUM + 7]
    assert {band.documents for band in old.bands} == {None}
    assert breadth(old) is None
    assert narrow_note(old) is None


def test_a_stored_profile_with_a_broken_count_stops_no_other(backbone, tmp_path):
    from safetensors.numpy import load_file, save_file

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(of_tiny(300)))
    path = build_from_files([corpus], backbone=backbone)
    values = read_values(path) | {"name": "broken", "documents": 5}
    broken = path.with_name("broken.safetensors")
    save_file(load_file(path), broken, metadata={"profile": json.dumps(values)})
    assert "corpus" in {profile.name for profile in list_profiles()}
    with pytest.raises(DataError, match="missing or broken"):
        load_profile(broken)


def test_the_command_line_says_how_broad_a_source_is(tmp_path, capsys):
    model = tiny.save_model(tmp_path / "model")
    rows = [{"text": text, "chapter": f"c{i % 12}"} for i, text in enumerate(of_tiny(600))]
    (tmp_path / "book.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--model", str(model), "--device", "cpu", "--quiet"]
    assert run(["source", "build", str(tmp_path / "book.jsonl"), "--group", "chapter", *options]) == 0
    told = capsys.readouterr()
    assert "warning: the source 'book' is narrow" in told.err
    assert "12 documents" in told.err
    assert run(["source", "list"]) == 0
    assert "(its length bands rest on 12 to 12 documents)" in capsys.readouterr().out
    assert run(["source", "show", "book"]) == 0
    assert capsys.readouterr().out.count('"documents": 12') == len(load_profile(next(
        (tmp_path / "home" / "profiles").glob("*.safetensors"))).bands)  # fmt: skip
    (tmp_path / "broad.txt").write_text("\n".join(of_tiny(300)))
    assert run(["source", "build", str(tmp_path / "broad.txt"), *options]) == 0
    assert "narrow" not in capsys.readouterr().err


def test_images_have_no_column_of_documents(tmp_path):
    images = type("Reader", (), {"inputs": ImageInputs.__new__(ImageInputs), "id": "net"})()
    with pytest.raises(OptionError, match="reads images"):
        build_from_files([tmp_path], backbone=images, group="article")
