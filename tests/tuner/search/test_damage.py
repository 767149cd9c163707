"""Every file of a run folder, damaged in five ways: it is named, what can still be done is said, nothing is lost."""

import json
import os
import re
import shutil

import pytest

import tuner.search.final
import tuner.search.finish
import tuner.search.ship
from advisor import pipeline, runs, showing
from advisor.advice.strategy import Advice, stored_advice
from advisor.predicting import predict
from advisor.report import write_report
from helpers import commands, reading, tiny
from tuner.errors import DataError, TransferError
from tuner.sealed import Checksums, read_sealed
from tuner.search.final import FittedSeed
from tuner.search.journal import JournalSeal, mend_journal
from tuner.search.result import TuningResult, result_from
from tuner.search.store import Identity, Pruned, Run, identify
from tuner.search.stored import PassTime, TestScores
from tuner.training.prefix import _read_mark

TRIALS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in commands.reviews(120)))
    return path


def tune(data, model, folder, **options):
    """A short search; going on from one costs no new final fit unless that is what it is about, nor a report."""
    options.setdefault("refit", not options.get("resume"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuner.search.confirmations.FINALISTS", 1)
        if options.get("resume"):
            patch.setattr(pipeline, "write_report", lambda _folder: None)
        return pipeline.tune(
            data, model=model, out=folder, trials=TRIALS, strategy="freeze_part", device="cpu", **options
        )


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, data, model):
    """A run that Ctrl-C ended amid its final fit, with one seed of three done: it has everything that a run folder ever
    holds."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit, began = tuner.search.final.train, []

    def stopped(*args, **options):
        began.append(1)
        if len(began) > 1:
            raise KeyboardInterrupt
        return fit(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner.search.final, "train", stopped)
        patch.setattr(tuner.search.ship, "average_pays", lambda *_: (True, "a test"))
        assert tune(data, model, folder).stopped_because == "interrupted"
    assert len(list((folder / ".search" / "final").glob("*.json"))) == 1
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = bytes(byte ^ 0x15 for byte in content[middle : middle + 4])
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


def lack_a_field(path):
    try:
        values = json.loads(path.read_bytes())
    except ValueError:
        return pytest.skip("has no fields")
    if not isinstance(values, dict) or not values:
        return pytest.skip("has no fields")
    name = next((name for name in ("winner", "data", "predictions", "architectures", "files") if name in values), None)
    del values[name or sorted(values)[0]]
    return path.write_text(json.dumps(values))


def delete(path):
    path.unlink()


DAMAGES = (cut, garble, empty, lack_a_field, delete)
GONE_ON_FROM = (
    "advice.json",
    "tuning.json",
    "study.journal",
    ".search/run.json",
    ".search/journal.json",
    ".search/pass.json",
    ".search/test.json",
    ".search/runs/*.json",
    ".search/weights/0*.safetensors",
    ".search/final/*.json",
    ".search/weights/final-*.safetensors",
    ".search/train/*.bits",
    ".search/train/*.json",
    ".search/train/*.npz",
)
"""Of several such files the first is taken."""


@pytest.mark.parametrize("pattern", GONE_ON_FROM)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_search_that_goes_on_names_what_is_damaged(tmp_path, monkeypatch, interrupted, data, model, pattern, damage):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    path = sorted(folder.glob(pattern))[0]
    damage(path)
    finished = {run.name: run.read_bytes() for run in (folder / ".search" / "runs").glob("*.json")}
    cached = "train" in path.parts
    made_again = damage is delete and not pattern.startswith(("advice", ".search/weights/0"))
    if cached or made_again:
        result = tune(data, model, folder, resume=True, refit="final" in pattern)
        assert result.trials["complete"] + result.trials["pruned"] == TRIALS
        assert "final" not in pattern or result.final["seeds"] == [0, 1, 2]
        return
    monkeypatch.setattr("tuner.search.search.Trials", None)  # said before any trial begins
    with pytest.raises(TransferError) as error:
        tune(data, model, folder, resume=True, refit=True)
    assert re.search(rf"{re.escape(path.name)}\b", error.value.what)
    assert re.search("delete|put the file back|copy", error.value.fix)
    assert finished == {run.name: run.read_bytes() for run in (folder / ".search" / "runs").glob("*.json")}


@pytest.mark.parametrize(
    "pattern",
    [
        ".search/runs/*.json",
        ".search/weights/0*.safetensors",
        ".search/final/*.json",
        ".search/weights/final-*.safetensors",
        "study.journal",
    ],
)
def test_what_the_message_says_helps(tmp_path, interrupted, data, model, pattern):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    path = sorted(folder.glob(pattern))[0]
    garble(path)
    with pytest.raises(DataError, match="delete") as error:
        tune(data, model, folder, resume=True, refit=True)
    for named in re.findall(r"/\S+\.(?:json|safetensors)\b", error.value.fix):
        (folder / named).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    result = tune(data, model, folder, resume=True, refit="final" in pattern)
    assert result.stopped_because != "interrupted"
    assert result.trials["complete"] + result.trials["pruned"] == TRIALS
    if pattern == "study.journal":
        assert any("was made again" in warning for warning in result.warnings)


def test_a_journal_that_lost_its_last_trials_overwrites_no_run(tmp_path, interrupted, data, model):
    """Where nothing says how long it was, since a version before did not note that."""
    folder = shutil.copytree(interrupted, tmp_path / "run")
    lines = (folder / "study.journal").read_bytes().splitlines(keepends=True)
    (folder / "study.journal").write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:20])
    (folder / ".search" / "journal.json").unlink()
    before = {path.name: path.read_bytes() for path in (folder / ".search" / "runs").glob("*.json")}
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tuner.search.store.RunStore.keep",
            lambda self, run: (written.append(run.name), self.runs.update({run.name: run})),
        )
        result = tune(data, model, folder, resume=True)
    assert not {f"{name}.json" for name in written} & before.keys()
    assert result.trials["complete"] + result.trials["pruned"] == TRIALS
    assert any("was cut off" in warning and "was dropped" in warning for warning in result.warnings)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "support.safetensors", "tokenizer.json", "checksums.json", "advice.json"],
)
def test_a_saved_model_that_is_damaged_is_not_used(tmp_path, interrupted, data, name, damage):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    path = folder / "model" / name
    damage(path)
    if damage is delete and name in ("checksums.json", "advice.json"):  # which predictions can do without
        assert len(predict(folder, data, text="text").labels) == 120
        return
    with pytest.raises(TransferError, match=re.escape(name)):
        predict(folder, data, text="text")


@pytest.mark.parametrize("name", ["advice.json", "tuning.json"])
@pytest.mark.parametrize("damage", [cut, empty, lack_a_field], ids=lambda damage: damage.__name__)
def test_a_report_names_what_is_damaged(tmp_path, interrupted, name, damage):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    damage(folder / name)
    with pytest.raises(TransferError, match=re.escape(name)):
        write_report(folder)


def stored_records(folder):
    """The files of a run folder that are read as records, with what they are read as."""
    work = folder / ".search"
    kinds = {"run.json": Identity, "journal.json": JournalSeal, "pass.json": PassTime, "final/*.json": FittedSeed}
    kinds |= {"runs/*.json": Run, "../model/checksums.json": Checksums, "../tuning.json": TuningResult}
    for pattern, kind in kinds.items():
        for path in sorted(work.glob(pattern)):
            stored = read_sealed(path, fix="")
            yield (Pruned if kind is Run and "score" not in stored else kind), stored
    yield Advice, json.loads((folder / "advice.json").read_bytes())
    yield from ((TestScores, scores) for scores in tuner.search.finish.tested(work).values())


def test_every_record_of_a_run_folder_is_read_back_as_it_was(interrupted):
    read = set()
    for kind, stored in stored_records(interrupted):
        record = reading.read(kind, stored, ignores_added=kind is TestScores)
        assert kind is TestScores or record.to_json() == stored
        reading.check_reading(kind, record)
        read.add(kind)
    assert read >= {Identity, JournalSeal, PassTime, FittedSeed, Run, Checksums, TuningResult, Advice, TestScores}


def every_value(record, path=()):
    """The places of all values in a record, inner ones included."""
    for key in record if isinstance(record, dict) else range(len(record)):
        yield (*path, key)
        if isinstance(record[key], (dict, list)) and record[key]:
            yield from every_value(record[key], (*path, key))


def without(record, place):
    changed = json.loads(json.dumps(record))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return changed


def test_an_advice_without_any_one_value_is_refused_or_good_enough(interrupted, capsys):
    stored = runs.read_advice(interrupted)
    refused = 0
    places = list(every_value(stored))
    for place in places:
        changed = without(stored, place)
        try:
            advice = stored_advice(changed, path=interrupted / "advice.json")
        except DataError:
            refused += 1
            continue
        assert advice.candidate.frozenness(advice.space.n_blocks) >= 0
        showing.print_advice(changed)
    assert 30 < refused < len(places)


def test_a_result_without_any_one_value_is_refused_or_good_enough(interrupted, capsys):
    stored = runs.read_tuning(interrupted)
    refused = 0
    for place in every_value(stored):
        changed = without(stored, place)
        try:
            result_from(changed, path=interrupted / "tuning.json", fix="x")
        except DataError:
            refused += 1
            continue
        showing.print_tuning({"augmentation": None, "options": [], **changed})
    assert refused > 10


@pytest.mark.parametrize("name", ["study.journal", ".search/run.json", ".search/journal.json", ".search/test.json"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_named(tmp_path, interrupted, name):
    for number, (make, what) in enumerate([(os.mkfifo, "a named pipe"), (os.mkdir, "folder|directory")]):
        folder = shutil.copytree(interrupted, tmp_path / str(number))
        (folder / name).unlink()
        make(folder / name)
        work = folder / ".search"
        with pytest.raises(DataError, match=f"(?s){re.escape(name)} is damaged.*({what})"):
            (
                identify(work, own_journal=True),
                tuner.search.finish.tested(work),
                mend_journal(folder, work=work),
            )


def test_a_pipe_in_place_of_a_cached_file_is_computed_again(tmp_path, interrupted):
    folder = shutil.copytree(interrupted, tmp_path / "run")
    cached = sorted((folder / ".search" / "train").glob("*.bits"))[0]
    assert _read_mark(cached) is not None
    mark = cached.with_suffix(".json")
    mark.unlink()
    os.mkfifo(mark)
    assert _read_mark(cached) is None
