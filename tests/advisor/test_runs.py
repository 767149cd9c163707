import json
import os

import pytest

from advisor import runs
from tuner.errors import DataError, MissingFileError, RunFolderError

ADVICE = {"schema": 1, "data": {"fingerprint": "d"}, "model": {"sha256": "m"}}
ADVICE |= {name: {} for name in ("size", "similarity", "strategy", "freeze")}


def make_run(folder, advice=ADVICE):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "advice.json").write_text(json.dumps(advice))
    return folder


def test_names_are_safe_and_new(tmp_path):
    first = runs.default_folder("../a b/réviews.csv", "owner/model", root=tmp_path)
    assert first.parent == tmp_path
    assert first.name.startswith("r_views.csv-model-")
    first.mkdir()
    assert runs.default_folder("../a b/réviews.csv", "owner/model", root=tmp_path) != first


def test_a_new_or_empty_folder_is_fine(tmp_path):
    runs.check_folder(tmp_path / "deep" / "new")
    runs.check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_run_is_never_overwritten(tmp_path):
    folder = make_run(tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds another run"):
        runs.check_folder(folder)
    runs.check_folder(folder, resume=True)


def test_an_advice_that_was_cut_off_is_no_content(tmp_path):
    (tmp_path / ".advice.json.x7f3").write_text("{")
    runs.check_folder(tmp_path)
    runs.check_folder(tmp_path, resume=True)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match="already holds other files"):
        runs.check_folder(tmp_path, resume=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        runs.check_folder(tmp_path / "file")
    with pytest.raises(RunFolderError, match=r"file is a file|cannot be made"):
        runs.check_folder(tmp_path / "file" / "run")


def test_an_unwritable_parent_is_said(tmp_path, monkeypatch):
    import tempfile

    def refused(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(RunFolderError, match="cannot be written"):
        runs.check_folder(tmp_path / "run")


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(MissingFileError, match="holds no run"):
        runs.read_advice(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "was not written by this program"),
        ('{"schema": 1}', "no model, data, size"),
        ('{"schema": 1, "data": 3}', "no model, data, size"),
    ],
)
def test_a_damaged_advice_is_said(tmp_path, text, message):
    (tmp_path / "advice.json").write_text(text)
    with pytest.raises(DataError, match=message):
        runs.read_advice(tmp_path)


def test_the_newest_run_of_the_same_data_and_model_is_found(tmp_path):
    for age, name in ((30, "old"), (10, "new")):
        folder = make_run(tmp_path / name)
        os.utime(folder / "advice.json", (10_000 - age, 10_000 - age))
    make_run(tmp_path / "other", ADVICE | {"data": {"fingerprint": "other"}})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "advice.json").write_text("{")
    assert runs.find_run(data_fingerprint="d", model="m", root=tmp_path) == tmp_path / "new"
    assert runs.find_run(data_fingerprint="d", model="x", root=tmp_path) is None


def fail_writing(folder, error, **options):
    with runs.writing(folder, **options):
        make_run(folder)
        (folder / ".search").mkdir()
        raise error


@pytest.mark.parametrize("existed", [False, True])
def test_a_run_that_fails_leaves_nothing(tmp_path, existed):
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    with pytest.raises(RuntimeError):
        fail_writing(folder, RuntimeError())
    assert folder.exists() == existed
    assert not existed or not any(folder.iterdir())


def test_what_was_there_before_and_what_can_be_resumed_stays(tmp_path):
    earlier = make_run(tmp_path / "earlier")
    with pytest.raises(RuntimeError):
        fail_writing(earlier, RuntimeError())
    assert runs.is_run(earlier)
    full = DataError("the disk is full", why="x", fix="free some space")
    with pytest.raises(DataError, match="free some space; the finished trials are kept, and --resume --out"):
        fail_writing(tmp_path / "new", full, resumable=lambda: True)
    assert runs.is_run(tmp_path / "new")


def test_ctrl_c_keeps_what_can_be_continued(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail_writing(tmp_path / "run", KeyboardInterrupt())
    assert runs.is_run(tmp_path / "run")


def test_a_damaged_tuning_is_said(tmp_path):
    assert runs.read_tuning(tmp_path) is None
    (tmp_path / "tuning.json").write_text('{"schema": 1')
    with pytest.raises(DataError, match="is not readable JSON"):
        runs.read_tuning(tmp_path)


def test_what_a_failed_step_added_to_an_older_run_goes(tmp_path):
    folder = make_run(tmp_path / "run")
    with pytest.raises(RuntimeError):
        fail_writing(folder, RuntimeError())
    assert [path.name for path in folder.iterdir()] == ["advice.json"]


def test_folders_above_a_failed_run_go_too(tmp_path):
    with pytest.raises(RuntimeError):
        fail_writing(tmp_path / "deep" / "er" / "run", RuntimeError())
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_can_be_cleaned(tmp_path):
    (tmp_path / ".search" / "weights").mkdir(parents=True)
    (tmp_path / ".search" / "weights" / "0000.safetensors").write_bytes(b"x" * 1000)
    with pytest.raises(MissingFileError, match=r"advice\.json is missing"):
        runs.clean(tmp_path)
    advice = {"schema": 1} | {name: {} for name in ("model", "data", "size", "similarity", "strategy", "freeze")}
    (tmp_path / "advice.json").write_text(json.dumps(advice))
    with pytest.raises(RunFolderError, match="has no result yet"):
        runs.clean(tmp_path)
    assert (tmp_path / ".search").exists()
    (tmp_path / "tuning.json").write_text(json.dumps({"schema": 1, "candidates": [], "winner": {}}))
    assert runs.clean(tmp_path) == 1000
    assert {path.name for path in tmp_path.iterdir()} == {"advice.json", "tuning.json"}
    assert runs.clean(tmp_path) == 0
