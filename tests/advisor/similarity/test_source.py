import dataclasses
import json
import random

import numpy as np
import pytest

from advisor.similarity import build, library, passages, text_sources
from advisor.similarity.build import build_profile, read_stage_two
from advisor.similarity.library import (
    build_from_files,
    describe_profile,
    find_profile,
    list_profiles,
    load_profile,
    save_profile,
)
from advisor.similarity.passages import SourceText, cut_passages, even_quotas, read_source_text, split_sentences
from advisor.similarity.profile import middle_blocks
from advisor.similarity.profile_files import read_values
from helpers import tiny
from tuner.errors import DataError, MissingFileError, ModelError, OptionError
from tuner.model.assemble import load_backbone


def sentences(n, *, seed=0, words=(6, 14)):
    rng = random.Random(seed)
    return [" ".join(rng.choice(tiny.WORDS) for _ in range(rng.randint(*words))) + " ." for _ in range(n)]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


@pytest.fixture(scope="module")
def profile(backbone):
    return build_profile(sentences(300), backbone=backbone, name="tiny", stage_two=())


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(tmp_path / "home"))


# --- passages


def test_abbreviations_do_not_end_a_sentence():
    assert split_sentences("Dr. A. Reed v. nothing? Yes... no") == ["Dr. A. Reed v.", "nothing?", "Yes...", "no"]


def test_passages_keep_to_their_band_and_leave_placeholders_out(backbone):
    texts = (" ".join([*sentences(8), "the <unk> was red .", *sentences(8, seed=1)]),)
    bands = cut_passages(SourceText(texts=texts, parts=(1,)), tokenizer=backbone.tokenizer)
    for (lowest, highest), band in zip(passages.BANDS[:3], bands, strict=False):  # the tiny model reads 64 tokens
        lengths = backbone.encode([passage.text for passage in band]).lengths
        assert ((lengths >= lowest) & (lengths <= highest)).all()
        assert [passage.tokens for passage in band] == lengths.tolist()
        assert not any("unk" in passage.text for passage in band)
    assert len(bands[0]) > 5


def test_every_file_gets_the_same_share():
    assert even_quotas([5, 1000, 400], total=605) == [5, 300, 300]


def test_tables_and_text_files_are_read_and_descriptions_are_not(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "first", "part": 1}\n{"text": " ", "part": 1}\n')
    (tmp_path / "b.csv").write_text("text,n\nsecond,1\nthird,2\n")
    (tmp_path / "c.txt").write_text("fourth\n\n fifth \n")
    (tmp_path / "README.md").write_text("about the files")
    read = read_source_text([tmp_path])
    assert read.texts == ("first", "second", "third", "fourth", "fifth")
    assert read.parts == (1, 2, 2)


def test_files_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file or folder"):
        read_source_text([tmp_path / "nowhere.txt"])
    with pytest.raises(DataError, match="holds no text files"):
        read_source_text([tmp_path])
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt is not UTF-8 text \(byte 3\)"):
        read_source_text([tmp_path / "latin.txt"])
    (tmp_path / "zeros.txt").write_bytes(b"ab\x00c")
    with pytest.raises(DataError, match="binary, not text"):
        read_source_text([tmp_path / "zeros.txt"])


# --- build, save, load


def test_middle_third_of_the_blocks():
    assert [middle_blocks(n) for n in (1, 4, 7, 13)] == [(0,), (1, 2), (2, 3, 4), (4, 5, 6, 7, 8)]


def test_a_profile_holds_distances_of_its_own_reference_rows(profile, backbone):
    band = profile.bands[0]
    assert (band.lowest, band.highest) == (8, 16)
    assert profile.blocks == (1, 2)
    assert band.reference.dtype == np.int8
    assert band.held_out.shape == (2, len(band.segments))
    assert (band.segments % 4 == 3).all()  # held-out stretches only
    # quantised and projected distances stay those of the full features
    texts = sentences(60, seed=5, words=(6, 12))
    features = backbone.block_features(backbone.encode(texts))
    projected = profile.distances(features, band)
    cut = cut_passages(SourceText(texts=tuple(sentences(300)), parts=(300,)), tokenizer=backbone.tokenizer)[0]
    reference = [passage.text for passage in build._sample(cut)[0]]
    full = backbone.block_features(backbone.encode(reference))
    for row, block in enumerate(profile.blocks):
        exact = build.knn_distances(features[block], full[block], k=5)
        np.testing.assert_allclose(projected[row], exact, atol=0.01)


def test_the_ladder_rises_from_held_out_rows_to_random_letters(profile):
    for band in profile.bands:
        assert band.letters.mean() > 2 * band.held_out.mean()


def test_building_twice_gives_the_same_bytes(profile, backbone, tmp_path):
    again = build_profile(sentences(300), backbone=backbone, name="tiny", stage_two=())
    save_profile(profile, tmp_path / "a.safetensors")
    save_profile(again, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    other = build_profile(sentences(300), backbone=backbone, name="tiny", stage_two=(), seed=1)
    assert not np.array_equal(other.bands[0].shuffled, profile.bands[0].shuffled)


def test_a_saved_profile_is_the_same_when_loaded_and_holds_no_text(profile, tmp_path):
    path = tmp_path / "p.safetensors"
    save_profile(profile, path)
    loaded = load_profile(path)
    for field in dataclasses.fields(profile):
        if field.name == "bands":
            for mine, theirs in zip(profile.bands, loaded.bands, strict=True):
                for part in dataclasses.fields(mine):
                    np.testing.assert_array_equal(getattr(mine, part.name), getattr(theirs, part.name))
        else:
            np.testing.assert_array_equal(getattr(profile, field.name), getattr(loaded, field.name))
    content = path.read_bytes()
    assert not any(sentence.encode() in content for sentence in sentences(300))


def test_too_little_source_text_says_how_much_is_needed(backbone):
    with pytest.raises(DataError) as error:
        build_profile(sentences(60), backbone=backbone, name="short")
    assert "too little source text" in str(error.value)
    assert "at least 200 sentences" in error.value.fix


def test_parts_must_add_up(backbone):
    with pytest.raises(ValueError, match="parts sum to 2, but there are 3 texts"):
        build_profile(["a", "b", "c"], backbone=backbone, name="x", parts=[1, 1])


def test_stage_two_adds_up_the_files_of_a_family(tmp_path):
    assert read_stage_two(tmp_path) == ()
    listed = [
        {"name": "forum/a.jsonl.gz", "lines": 3, "weight": 1},
        {"name": "forum/b.jsonl.gz", "lines": 4, "weight": 1},
        {"name": "pairs.jsonl.gz", "lines": 5, "weight": 9},
    ]
    (tmp_path / "data_config.json").write_text(json.dumps(listed))
    assert read_stage_two(tmp_path) == (("forum", 7), ("pairs", 5))
    (tmp_path / "data_config.json").write_text("[1]")
    assert read_stage_two(tmp_path) == ()


def test_files_that_are_no_profiles_are_refused(profile, tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(MissingFileError, match="no profile file"):
        load_profile(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="is not a source profile that can be read"):
        load_profile(path)
    save_profile(profile, path)
    path.write_bytes(path.read_bytes().replace(b'\\"schema\\": 1', b'\\"schema\\": 9'))
    with pytest.raises(DataError, match="its format is 9, this version reads 1"):
        load_profile(path)


def test_a_profile_with_a_part_missing_is_refused(profile, tmp_path):
    from safetensors.numpy import save_file

    save_profile(profile, tmp_path / "p.safetensors")
    values = read_values(tmp_path / "p.safetensors")
    path = tmp_path / "q.safetensors"
    save_file({"scale": profile.scale}, path, metadata={"profile": json.dumps(values)})
    with pytest.raises(DataError, match="a part of it is missing or broken"):
        load_profile(path)


# --- find


def test_a_model_without_a_profile_has_none(backbone):
    assert find_profile(None, backbone=backbone) is None


def test_a_built_profile_is_found_by_name_and_alone_without_one(backbone, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences(300)))
    path = build_from_files([corpus], backbone=backbone)
    assert path == tmp_path / "home" / "profiles" / f"corpus-{backbone.fingerprint[:8]}.safetensors"
    assert find_profile(None, backbone=backbone).name == "corpus"
    assert find_profile("corpus", backbone=backbone).name == "corpus"
    assert find_profile(path, backbone=backbone).name == "corpus"
    described = describe_profile("corpus")
    assert described["bands"][0]["tokens"] == [8, 16]
    assert described["bands"][0]["ladder"]["letters"] > described["bands"][0]["ladder"]["halves"]
    json.dumps(described)
    build_from_files([corpus], backbone=backbone, name="second")
    with pytest.raises(OptionError, match="there are 2 source profiles"):
        find_profile(None, backbone=backbone)


def test_text_is_embedded_once_and_kept_by_content(backbone, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(sentences(300)))
    first = find_profile(str(corpus), backbone=backbone)
    calls = []
    original = text_sources.build_profile
    monkeypatch.setattr(text_sources, "build_profile", lambda *a, **k: calls.append(1) or original(*a, **k))
    again = find_profile(corpus, backbone=backbone)
    assert again.content_sha256 == first.content_sha256
    assert calls == []
    corpus.write_text("\n".join(sentences(300, seed=1)))
    find_profile(corpus, backbone=backbone)
    assert calls == [1]
    cached = sorted((tmp_path / "home" / "sources").glob("*.safetensors"))
    for path in cached:
        path.write_bytes(path.read_bytes()[:100])  # as after a full disk
    find_profile(corpus, backbone=backbone)
    assert calls == [1, 1]


def test_another_models_profile_is_refused(profile, backbone, tmp_path):
    path = tmp_path / "p.safetensors"
    save_profile(dataclasses.replace(profile, model_sha256="0" * 64, model_id="other"), path)
    with pytest.raises(ModelError, match=r"belongs to another model \(other\)"):
        find_profile(path, backbone=backbone)
    save_profile(dataclasses.replace(profile, pooling="cls"), path)
    with pytest.raises(ModelError, match="built with cls pooling"):
        find_profile(path, backbone=backbone)
    with pytest.raises(ModelError, match="belongs to another model"):
        find_profile("wikipedia-books", backbone=backbone)


def test_unknown_sources_are_refused(backbone, tmp_path):
    with pytest.raises(OptionError, match="Did you mean 'wikipedia-books'"):
        find_profile("wikipedia-book", backbone=backbone)
    with pytest.raises(MissingFileError, match=r"there is no file nowhere\.txt"):
        find_profile("nowhere.txt", backbone=backbone)
    with pytest.raises(OptionError, match="Did you mean 'wikipedia-books'"):
        describe_profile("wikipedia-boks")


def test_a_file_counts_before_another_models_profile_of_its_name(backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="belongs to another model"):
        find_profile("wikipedia-books", backbone=backbone)
    (tmp_path / "wikipedia-books").write_text("One sentence is too little.\n")
    with pytest.raises(DataError):
        find_profile("wikipedia-books", backbone=backbone)


def test_a_hub_id_without_a_network_says_what_to_fetch(backbone):
    with pytest.raises(MissingFileError) as error:
        find_profile("nobody/no-such-text", backbone=backbone)
    assert "hf download nobody/no-such-text" in error.value.fix


def test_the_shipped_profile_is_small_and_belongs_to_the_default_model(minilm):
    shipped = {p.name: p for p in list_profiles() if p.path.parent == library.SHIPPED}
    assert set(shipped) == {"wikipedia-books", "cifar10"}
    assert all(summary.path.stat().st_size < 3_000_000 for summary in shipped.values())
    profile = find_profile(None, backbone=minilm)
    assert profile.name == "wikipedia-books"
    assert profile.blocks == (2, 3, 4)
    assert [(band.lowest, band.highest) for band in profile.bands] == list(passages.BANDS)
    assert sum(pairs for _, pairs in profile.stage_two) == 1_170_060_424
    assert "/" not in profile.model_id


def test_a_source_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    (tmp_path / "corpus.txt").write_text("A sentence.\n")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_text", refuse)
    with pytest.raises(MissingFileError, match=r"corpus\.txt cannot be read \(Permission denied\)"):
        read_source_text([tmp_path / "corpus.txt"])


def test_a_binary_source_is_said(tmp_path):
    (tmp_path / "corpus.txt").write_bytes(b"text\x00more")
    with pytest.raises(DataError, match=r"corpus\.txt is binary, not text"):
        read_source_text([tmp_path / "corpus.txt"])
