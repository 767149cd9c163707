"""The command line end to end, in-process, on small real training with a tiny model."""

import json

import pytest

from advisor import __version__
from advisor.cli import run
from advisor.predicting import predict
from helpers import tiny
from helpers.commands import failed, printed, reviews
from tuner.errors import DataError
from tuner.export import TransferModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in reviews()))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, model, data):
    """One finished run that the read-only tests share."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(["tune", str(data), "--model", str(model), "--trials", "6", "--out", str(out), "--quiet"]) == 0
    return out


def test_version(capsys):
    assert printed(capsys, "--version") == f"advisor {__version__}\n"


def test_recommend_writes_advice_and_report(capsys, tmp_path, model, data):
    out = tmp_path / "run"
    text = printed(capsys, "recommend", data, "--model", model, "--out", out)
    advice = json.loads((out / "advice.json").read_text())
    assert {path.name for path in out.iterdir()} == {"advice.json", "report.html", "report.md"}
    assert advice["schema"] == 1
    assert advice["similarity"]["verdict"] == "unmeasured"
    assert advice["situation"]["number"] is None
    assert advice["strategy"]["decided_by"] == "evidence"
    assert [p["frozen_blocks"] for p in advice["freeze"]["predicted_by_depth"]] == [0, 1, 2, 3, 4]
    predicted = [*advice["freeze"]["predicted_by_depth"], *advice["predicted"]]
    assert all(p["interval"][0] < p["score"] < p["interval"][1] for p in predicted)
    assert all("none of it is of this model" in p["why"] for p in predicted)
    assert advice["data"]["splits"]["train"] + advice["data"]["splits"]["validation"] < 160
    assert "(decided by: evidence)" in text
    assert "what would change it" in text
    assert "--source" in advice["similarity"]["why"]
    assert str(out / "report.html") in text


def test_advice_holds_no_text_of_the_data(capsys, tmp_path, model, data):
    out = tmp_path / "run"
    printed(capsys, "recommend", data, "--model", model, "--out", out)
    stored = "".join((out / name).read_text() for name in ("advice.json", "report.html", "report.md"))
    assert not [row["text"] for row in reviews() if row["text"] in stored]


def test_equal_seeds_give_equal_advice(capsys, tmp_path, model, data):
    def advice(name, seed):
        stored = json.loads(
            printed(capsys, "recommend", data, "--model", model, "--json", "--seed", seed, "--out", tmp_path / name)
        )
        stored["predicted"] = [row | {"seconds": None} for row in stored["predicted"]]
        return {key: value for key, value in stored.items() if key not in ("seconds", "run_dir")}

    assert advice("a", 7) == advice("b", 7)
    other, first = advice("c", 8), advice("a2", 7)
    assert other["probes"] != first["probes"]  # other folds, so that equal advice above is no accident


def test_json_is_one_object_and_progress_is_on_stderr(capsys, tmp_path, model, data):
    assert run(["recommend", str(data), "--model", str(model), "--json", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["run_dir"] == str(tmp_path / "run")
    assert captured.out.count("\n") == 1
    assert "loading data" in captured.err


def test_tune_trains_saves_and_reports(tuned):
    tuning = json.loads((tuned / "tuning.json").read_text())
    assert tuning["trials"]["complete"] + tuning["trials"]["pruned"] == 6
    assert tuning["stopped_because"] == "trials"
    assert tuning["budget"] is None
    assert {0, 3, 4} <= {row["frozen_blocks"] for row in tuning["by_depth"]} | {None}
    assert 0 <= tuning["winner"]["test"]["interval"][0] <= tuning["winner"]["test"]["score"] <= 1
    assert {"advice.json", "tuning.json", "report.html", "report.md", "model"} <= {p.name for p in tuned.iterdir()}
    names = {path.name for path in (tuned / "model").iterdir()}
    assert {
        *("config.json", "model.safetensors", "tokenizer.json", "README.md", "support.safetensors", "advice.json")
    } <= names


def test_predict_labels_a_new_file(capsys, tmp_path, tuned):
    new = tmp_path / "new.csv"
    new.write_text("text\n" + "\n".join(row["text"] for row in reviews(40, seed=5)) + "\n")
    lines = printed(capsys, "predict", tuned, new, "--quiet").splitlines()
    assert lines[0] == "label,probability,unlike_training,probability of neg,probability of pos"
    assert len(lines) == 41
    assert {line.split(",")[0] for line in lines[1:]} <= {"neg", "pos"}
    out = tmp_path / "predictions.jsonl"
    assert "40 predictions written" in printed(capsys, "predict", tuned / "model", new, "--out", out, "--quiet")
    first = json.loads(out.read_text().splitlines()[0])
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    stored = json.loads(printed(capsys, "predict", tuned, new, "--json", "--quiet"))
    assert stored["n"] == 40
    assert 0 <= stored["share_unlike_training"] <= 1
    assert stored["predictions"][0] == first


def test_texts_that_are_missing_are_labelled_and_counted(capsys, tmp_path, tuned):
    new = tmp_path / "new.csv"
    new.write_text('text\n"the film"\n""\n"\u200b "\n')
    told = json.loads(printed(capsys, "predict", tuned, new, "--json"))
    assert told["n"] == 3
    assert told["warnings"] == ["2 of 3 texts are empty: they are labelled all the same, and their labels say little"]
    assert predict(tuned, ["the film"]).warnings == ()


def test_a_model_of_single_texts_refuses_pairs(capsys, tmp_path, tuned):
    new = tmp_path / "new.csv"
    new.write_text("text,other\nthe film,a cat\n")
    options = ("--text", "text", "--text-pair", "other")
    assert "row 1 is a pair, but this model reads single texts" in failed(capsys, "predict", tuned, new, *options)
    model = TransferModel.from_pretrained(tuned / "model", device="cpu")
    with pytest.raises(DataError, match="row 2 is a pair, but this model reads single texts") as told:
        model.predict(["the film", ("the film", "a cat")])
    assert told.value.why == "it was tuned on one text a row"


def test_reports_are_written_again(capsys, tuned):
    (tuned / "report.html").unlink()
    assert printed(capsys, "report", tuned).strip() == str(tuned / "report.html")
    assert (tuned / "report.html").read_text().startswith("<!")
    stored = json.loads(printed(capsys, "report", tuned, "--format", "json"))
    assert stored["tuning"]["schema"] == 1


def test_a_finished_run_is_not_repeated(capsys, model, data, tuned):
    before = (tuned / "tuning.json").read_text()
    text = printed(capsys, "tune", data, "--model", model, "--trials", "6", "--resume", "--out", tuned, "--quiet")
    assert (tuned / "tuning.json").read_text() == before
    assert "winner" in text


def test_one_strategy_only(capsys, tmp_path, model, data):
    stored = json.loads(
        printed(
            capsys, "tune", data, "--model", model, "--strategy", "head_only", "--trials", "3", "--json", "--quiet",
            "--out", tmp_path / "run",
        )
    )  # fmt: skip
    assert stored["winner"]["candidate"]["strategy"] == "head_only"
    assert {row["strategy"] for row in stored["candidates"]} == {"head_only"}
    assert stored["stopped_because"] == "exhausted"


def test_models_show_their_blocks(capsys, model):
    stored = json.loads(printed(capsys, "model", model, "--json"))
    assert stored["n_blocks"] == 4
    assert [row["parameters"] for row in stored["trained_by_depth"]][-1] == 0
    assert stored["trained_by_depth"][0]["parameters"] == stored["parameters"]
    assert "embeddings" in printed(capsys, "model", model)


def test_shipped_profiles_are_listed_and_shown(capsys):
    profiles = json.loads(printed(capsys, "source", "list", "--json"))
    assert profiles[0]["model_sha256"].startswith("53aa5117")
    name = profiles[0]["name"]
    assert name in printed(capsys, "source", "list")
    assert "bands" in json.loads(printed(capsys, "source", "show", name, "--json"))


BAD_OPTIONS = {
    "budget": (["--budget", "soon"], "--budget 'soon' cannot be read"),
    "no budget": (["--budget", "0s"], "is no time at all"),
    "trials": (["--trials", "0"], "--trials 0 is less than 1"),
    "metric": (["--metric", "acuracy"], "Did you mean 'accuracy'?"),
    "strategy": (["--strategy", "head_onyl"], "Did you mean 'head_only'?"),
    "device": (["--device", "cdua"], "Did you mean 'cuda'?"),
    "sample": (["--sample", "3"], "--sample 3 is less than 20"),
    "storage": (["--storage", "garbage"], "--storage 'garbage' cannot be opened"),
    "seed": (["--seed", "-1"], "--seed -1 is not between 0"),
    "length": (["--max-length", "1000"], "is not between 4 and 64"),
    "image": (["--image", "x"], "has no column 'x'"),
    "option": (["--budgett", "1m"], "No such option: --budgett"),
    "number": (["--trials", "many"], "Invalid value for '--trials'"),
    "column": (["--text", "texd"], "texd"),
    "pair": (["--text", "text", "--text-pair", "text"], "contradict each other"),
}


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_bad_options_are_said_and_leave_nothing(capsys, tmp_path, model, data, options, message):
    assert message in failed(capsys, "tune", data, "--model", model, "--out", tmp_path / "run", "--quiet", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_too_short_for_a_trial_is_said(capsys, tmp_path, model, data):
    """Only the measured speed tells, so the recommendation is printed before; the run folder is gone again."""
    out = tmp_path / "run"
    assert run(["tune", str(data), "--model", str(model), "--out", str(out), "--budget", "0.01s", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "--budget of 0.01 s is too short for one trial" in error
    assert "fix: pass --budget" in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_said(capsys, tmp_path):
    failed(capsys, "recommend", tmp_path / "nothing.csv", "--out", tmp_path / "run", "--quiet")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_said(capsys, tmp_path):
    failed(capsys, "recommend", "x" * 300 + ".csv", "--out", tmp_path / "run", "--quiet")


def test_profiles_overwrite_nothing(capsys, tmp_path, model):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("A sentence.\n")
    assert "already exists" in failed(capsys, "source", "build", corpus, "--model", model, "--out", corpus)
    assert "does not end in" in failed(capsys, "source", "build", corpus, "--model", model, "--out", tmp_path / "x.bin")
    assert corpus.read_text() == "A sentence.\n"


def test_an_unknown_command_is_said(capsys):
    assert "Did you mean 'recommend'" in failed(capsys, "recomend")


def test_an_occupied_folder_is_said(capsys, model, data, tuned):
    message = failed(capsys, "tune", data, "--model", model, "--out", tuned, "--trials", "1", "--quiet")
    assert "already holds another run" in message
    assert "--resume" in message


def test_a_run_on_other_data_is_not_resumed(capsys, tmp_path, model, tuned):
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in reviews(seed=9)))
    message = failed(capsys, "tune", other, "--model", model, "--out", tuned, "--resume", "--trials", "1", "--quiet")
    assert "is of another data" in message


@pytest.mark.parametrize(
    ("option", "value", "what"), [("--max-length", "9", "length"), ("--metric", "macro_f1", "metric")]
)
def test_a_run_with_other_settings_is_not_resumed(capsys, model, data, tuned, option, value, what):
    message = failed(
        capsys, "tune", data, "--model", model, "--out", tuned, "--resume", "--trials", "1", "--quiet", option, value
    )
    assert f"is of another {what}" in message


def test_predicting_without_a_model_is_said(capsys, tmp_path, data):
    assert "holds no saved model" in failed(capsys, "predict", tmp_path, data, "--quiet")


def test_predicting_with_a_foreign_model_is_said(capsys, model, data):
    assert "not one saved by advisor tune" in failed(capsys, "predict", model, data, "--quiet")


def test_predictions_overwrite_nothing(capsys, tmp_path, tuned):
    new = tmp_path / "new.csv"
    new.write_text("text\ngood film\n")
    assert "already exists" in failed(capsys, "predict", tuned, new, "--out", new, "--quiet")
    assert new.read_text() == "text\ngood film\n"


def test_the_next_command_repeats_what_was_asked(capsys, tmp_path, model, data):
    options = ["--metric", "macro_f1", "--seed", "3", "--sample", "100", "--max-length", "32", "--device", "cpu"]
    for command, *more in (["recommend"], ["tune", "--trials", "1", "--strategy", "head_only"]):
        out = tmp_path / command
        printed(capsys, command, data, "--model", model, "--quiet", "--out", out, *options, *more)
        words = json.loads((out / "advice.json").read_text())["next_command"].split()
        given = dict(zip(words[3::2], words[4::2], strict=True))
        assert given == {"--model": str(model)} | dict(zip(options[::2], options[1::2], strict=True))


def test_predictions_need_a_known_ending(capsys, tuned, data):
    assert "neither .csv nor .jsonl" in failed(capsys, "predict", tuned, data, "--out", "x.xlsx", "--quiet")


def test_a_report_of_nothing_is_said(capsys, tmp_path):
    assert "holds no run" in failed(capsys, "report", tmp_path)


def test_an_unknown_report_format_is_said(capsys, tuned):
    assert "unknown format 'pdf'" in failed(capsys, "report", tuned, "--format", "pdf")


def test_ctrl_c_before_anything_finished(capsys, tmp_path, model, data, monkeypatch):
    from advisor import advising

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(advising, "load_backbone", interrupted)
    assert run(["recommend", str(data), "--model", str(model), "--out", str(tmp_path / "run"), "--quiet"]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
