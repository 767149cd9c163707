"""The main job on tagged words: tune, predict and their errors, on a tiny model and sentences made here."""

import json

import numpy as np
import pytest

from advisor import recommend, tune
from advisor.cli import run
from advisor.data.sentences import read_sentences
from advisor.predicting import predict
from helpers import tiny
from helpers.commands import failed, printed
from helpers.tagged_sentences import DATA, NAMES, sentences
from tuner.errors import DataError
from tuner.tasks.tags import Tags


def tagged(n, *, seed):
    """Sentences with the names of their words' tags."""
    part = sentences(n, seed=seed)
    ends = np.cumsum(part.n_words)
    tags = [[NAMES[tag] for tag in part.labels[end - k : end]] for end, k in zip(ends, part.n_words, strict=True)]
    return [list(words) for words in part.rows], tags


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "animals.conll"
    lines = [
        "\n".join(f"{word} {tag}" for word, tag in zip(*row, strict=True))
        for row in zip(*tagged(300, seed=5), strict=True)
    ]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, model, data):
    """One finished run that the read-only tests share."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = tune(data, model=model, trials=3, seed=1, out=out)
    return out, result


def test_a_run_speaks_of_entities(tuned):
    out, result = tuned
    assert result.metric == "entity_f1"
    advice = json.loads((out / "advice.json").read_text(encoding="utf-8"))
    assert advice["metric"] == "entity_f1"
    assert advice["data"]["task"] == "token_classification"
    assert any(entry["top"] == "bilstm" for entry in advice["space"]["first"])
    assert result.winner["test"]["entities"]["n_gold"] > 20
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "entity F1" in html
    assert "Entities of the test split, by type" in html
    assert {entry["type"] for entry in result.winner["test"]["entities"]["by_type"]} == {"animal", "mood"}


@pytest.mark.parametrize("ending", ["conll", "csv", "jsonl"])
def test_predictions_are_written_word_by_word(capsys, tuned, tmp_path, ending):
    tokens, _ = tagged(9, seed=11)
    new, out = tmp_path / "new.jsonl", tmp_path / f"tags.{ending}"
    new.write_text("".join(json.dumps({"tokens": words}) + "\n" for words in tokens), encoding="utf-8")
    assert "9 predictions" in printed(capsys, "predict", tuned[0], new, "--out", out)
    expected = tuned[1].model.predict(tokens)
    written = out.read_text(encoding="utf-8")
    if ending == "conll":
        rows = [[line.split("\t") for line in part.strip().split("\n")] for part in written.split("\n\n")]
        assert [[tag for _, tag in row] for row in rows] == expected
        assert [[word for word, _ in row] for row in rows] == tokens
    elif ending == "jsonl":
        assert [json.loads(line)["tags"] for line in written.splitlines()] == expected
    else:
        lines = [line.split(",") for line in written.splitlines()[1:]]
        assert [line[2] for line in lines] == [tag for tags in expected for tag in tags]
        assert lines[-1][0] == "9"


def test_a_conll_file_of_predictions_can_be_read_again(capsys, tuned, tmp_path):
    rows = [["New York", "cat\ndog", "the\tred\u00a0film", ""], [], ["sad"], []]
    new, out = tmp_path / "new.jsonl", tmp_path / "tags.conll"
    new.write_text("".join(json.dumps({"tokens": words}) + "\n" for words in rows), encoding="utf-8")
    assert run(["predict", str(tuned[0]), str(new), "--out", str(out)]) == 0
    notes = (
        "warning: 4 words are empty or hold white space, which parts columns: _ stands in its place in tags.conll\n",
        "warning: 2 of 4 sentences have no words and are left out of tags.conll\n",
    )
    said = capsys.readouterr().err
    assert all(note in said for note in notes)
    assert read_sentences(out)[0] == [["New_York", "cat_dog", "the_red_film", "_"], ["sad"]]
    again = tmp_path / "again.conll"
    assert run(["predict", str(tuned[0]), str(out), "--out", str(again)]) == 0
    assert not [note for note in notes if note in capsys.readouterr().err]
    assert run(["predict", str(tuned[0]), str(new), "--out", str(tmp_path / "tags.jsonl")]) == 0
    assert "white space" not in capsys.readouterr().err


def test_a_tagger_takes_no_pairs(capsys, tuned, data):
    message = failed(capsys, "predict", tuned[0], data, "--text-pair", "x")
    assert "--text-pair does not go with tagged sentences" in message
    assert "--image does not go with tagged sentences" in failed(capsys, "predict", tuned[0], data, "--image", "x")


def test_words_that_the_model_does_not_see_are_said_and_have_no_probability(capsys, tuned, tmp_path):
    long, lost = ["the", "cat"] * 210, ["very", "\u3000", "sad"]
    found = predict(tuned[0], [long, lost, ["dog"]])
    length = tuned[1].model.reader.model_max_length
    assert found.warnings == (
        f"1 of 3 sentences are longer than the model's length and were cut: {420 - (length - 2)} of 424 words are not "
        "seen and predicted O",
        "1 of 424 words in the sentences have no token (such as control characters) and are predicted O",
    )
    assert np.isnan(found.probabilities[0]).tolist() == [False] * (length - 2) + [True] * (420 - (length - 2))
    assert np.isnan(found.probabilities[1]).tolist() == [False, True, False]
    assert set(found.tags[0][length - 2 :]) == {"O"}
    assert found.to_json()["probabilities"][1][1] is None
    new = tmp_path / "new.jsonl"
    new.write_text("".join(json.dumps({"tokens": words}) + "\n" for words in (long, lost, ["dog"])), encoding="utf-8")
    told = json.loads(printed(capsys, "predict", tuned[0], new, "--json"))
    assert told["warnings"] == list(found.warnings)
    assert [value is None for value in told["predictions"][1]["probabilities"]] == [False, True, False]
    lines = printed(capsys, "predict", tuned[0], new).splitlines()
    assert lines[1].startswith(f"1,the,{found.tags[0][0]},0.")
    assert lines[420] == f"1,cat,O,,{told['predictions'][0]['unlike_training']}"


def test_words_can_be_read_without_tags(tuned, tmp_path):
    rows = [["the", "cat"], ["dog", "red"]]
    plain = tmp_path / "new.txt"
    plain.write_text("the cat\ndog red\n", encoding="utf-8")
    column = tmp_path / "new.conll"
    column.write_text("the\ncat\n\ndog\nred\n", encoding="utf-8")
    labelled = tmp_path / "labelled.conll"
    labelled.write_text("the O\ncat B-animal\n\ndog B-animal\nred I-animal\n", encoding="utf-8")
    table = tmp_path / "new.csv"
    table.write_text('tokens\n"[""the"", ""cat""]"\n"[""dog"", ""red""]"\n', encoding="utf-8")
    for given in (rows, plain, column, labelled, table):
        assert read_sentences(given)[0] == rows
    assert predict(tuned[0], plain).tags == predict(tuned[0], rows).tags
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="which column holds the words"):
        read_sentences(other)


def test_what_does_not_fit_tagged_words_is_refused(capsys, model, data, tuned, tmp_path):
    common = ("tune", data, "--model", model, "--out", tmp_path / "no", "--trials", 1, "--quiet")
    assert "the data is tagged words" in failed(capsys, *common, "--augment", "token_dropout")
    assert "no mask token" in failed(capsys, *common, "--augment", "masking")
    assert "does not go with tagged words" in failed(capsys, *common, "--metric", "accuracy")
    labelled = tmp_path / "reviews.csv"
    labelled.write_text("text,label\n" + "".join(f"the film {i},{'ab'[i % 2]}\n" for i in range(40)), encoding="utf-8")
    other = ("tune", labelled, "--model", model, "--out", tmp_path / "no", "--trials", 1, "--quiet")
    assert "--strategy bilstm is for tagged words" in failed(capsys, *other, "--strategy", "bilstm")
    assert "--metric entity_f1 does not go with labelled rows" in failed(capsys, *other, "--metric", "entity_f1")


def test_a_bilstm_is_reached_by_its_name(model, data, tmp_path, monkeypatch):
    monkeypatch.setattr("tuner.search.bilstm.LSTM", (16, 2))
    result = tune(data, model=model, strategy="concat_last_four", trials=2, out=tmp_path / "run")
    assert {entry["top"] for entry in result.candidates} == {"linear", "bilstm"}
    assert result.limited_to == "concat_last_four"
    result = tune(data, model=model, strategy="bilstm", trials=1, out=tmp_path / "other")
    assert {entry["top"] for entry in result.candidates} == {"bilstm"}


def test_lists_of_words_and_tags_are_data(model):
    advice = recommend(tagged(150, seed=3), model=model)
    assert advice.metric == "entity_f1"
    assert isinstance(DATA.task, Tags)
