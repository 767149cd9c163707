"""Signals: the first ends a search with its best so far, later ones disturb nothing, closed streams end no work."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tuner.search.store
from helpers import commands, tiny
from tuner.interruption import Interruption, uninterrupted
from tuner.model.assemble import load_backbone
from tuner.search.data import LabelledRows, TuningData
from tuner.search.prefixes import Prefixes
from tuner.search.search import search
from tuner.search.space import candidate_at, default_space
from tuner.search.store import RunStore
from tuner.tasks.classes import Classes

ADVISOR = [sys.executable, "-m", "advisor"]


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # for Python to run the handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_the_second_does_nothing(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt):
            send(number)
        send(number)
        send()
        assert interruption.asked
    assert signal.getsignal(number) == before


def test_after_the_hold_no_signal_interrupts():
    with Interruption() as interruption:
        interruption.hold()
        send()
        send(signal.SIGTERM)
        assert interruption.asked


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_have_no_signals():
    entered = []

    def work():
        with Interruption() as interruption:
            entered.append(interruption._before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [{}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_belongs_together_comes_to_its_end_first(number):
    done = []
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012  # what is done before it is raised counts
            with uninterrupted():
                send(number)
                done.append("inner")
            done.append("outer")
        assert done == ["inner", "outer"]
        with uninterrupted():
            send(number)  # one interrupts, further ones do not
        assert interruption.asked


def test_without_an_interruption_nothing_is_put_off():
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        send()


def test_a_signal_waits_until_a_module_is_imported(tmp_path, monkeypatch):
    """One that was cut off is imported a second time by what follows, and may fail then."""
    (tmp_path / "slow_to_import.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.1)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Interruption(), pytest.raises(KeyboardInterrupt):  # noqa: PT012  # it may come at any line
        import slow_to_import

        assert slow_to_import.whole
        time.sleep(10)
    assert sys.modules.pop("slow_to_import").whole


def test_a_program_that_is_imported_itself_can_be_interrupted(tmp_path, monkeypatch):
    (tmp_path / "imported_program.py").write_text(
        "import os, signal, time\nfrom tuner.interruption import Interruption\n"
        "try:\n    with Interruption():\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(10)\n"
        "except KeyboardInterrupt:\n    ended = time.monotonic()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    start = time.monotonic()
    import imported_program

    assert imported_program.ended - start < 5
    del sys.modules["imported_program"]


# -- a search ----------------------------------------------------------------------------------------------------------


def small_search(folder, interruption):
    def labelled(n, seed):
        rows = commands.reviews(n, seed=seed)
        labels = np.array([("neg", "pos").index(row["label"]) for row in rows])
        return LabelledRows(rows=[row["text"] for row in rows], labels=labels)

    data = TuningData(
        name="reviews", train=labelled(48, 0), validation=labelled(30, 1), test=labelled(20, 2),
        task=Classes(names=("neg", "pos")), fingerprint="x",
    )  # fmt: skip
    backbone = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    return search(
        backbone, data=data, space=replace(default_space(4), depths=(2, 2), controls=()), folder=folder,
        recommended=candidate_at(3, 4), budget_s=None, n_trials=4, interruption=interruption,
    )  # fmt: skip


def test_the_pass_over_more_blocks_may_be_interrupted_and_the_winner_is_saved(tmp_path, monkeypatch):
    """The range grows to where the best trial lies: that trial's own blocks are being cached as the signal comes."""
    cache, kept = Prefixes.cache, []
    keep = RunStore.keep

    def only_what_is_asked_later(self, depths):
        return cache(self, [depth for depth in depths if kept])

    replaced = Path.replace

    def interrupted(self, target):
        result = replaced(self, target)
        if self.suffix == ".part":
            send()
        return result

    monkeypatch.setattr(RunStore, "keep", lambda self, run: kept.append(run) or keep(self, run))
    monkeypatch.setattr(Prefixes, "cache", only_what_is_asked_later)
    monkeypatch.setattr(Path, "replace", interrupted)
    with Interruption() as interruption:
        result = small_search(tmp_path, interruption)
    assert result.stopped_because == "interrupted"
    assert result.trials == {"complete": 1, "pruned": 0, "failed": 0}
    assert (tmp_path / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("write", ["run", "journal"])
def test_a_signal_amid_a_write_loses_nothing_of_it(tmp_path, monkeypatch, write):
    if write == "run":
        written = tuner.search.store.write_sealed

        def amid(path, values):
            written(path, values)
            if path.parent.name == "runs":
                send(signal.SIGTERM)

        monkeypatch.setattr(tuner.search.store, "write_sealed", amid)
    else:
        rename, sent = os.rename, []

        def amid(old, new):
            if str(old).endswith(".lock") and (tmp_path / ".search" / "runs").exists() and not sent:
                sent.append(old)
                send(signal.SIGTERM)  # where Optuna is about to give its lock back
            rename(old, new)

        monkeypatch.setattr(os, "rename", amid)
    with Interruption() as interruption:
        result = small_search(tmp_path, interruption)
    assert result.stopped_because == "interrupted"
    assert result.trials == {"complete": 1, "pruned": 0, "failed": 0}
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not list(tmp_path.glob("study.journal.lock*"))


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in commands.reviews(120)))
    return path


def tune(data, model, out, *more):
    return [*ADVISOR, "tune", str(data), "--model", str(model), "--out", str(out), *more]


@pytest.fixture
def started():
    """Starts processes, which end with the test whatever comes of it."""
    processes = []

    def start(command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition, process, *, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_is_ended_keeps_its_best_model(tmp_path, started, data, model, number):
    out = tmp_path / "run"
    process = started(tune(data, model, out, "--trials", "5000", "--quiet"))
    wait_for(lambda: any((out / ".search" / "runs").glob("*.json")), process)
    process.send_signal(number)
    for _ in range(20):  # pressed again and again while the winner is saved
        time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(number)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "stopped         interrupted" in printed
    stored = json.loads((out / "tuning.json").read_text())
    assert stored["stopped_because"] == "interrupted"
    assert (out / "model" / "model.safetensors").is_file()
    assert (out / "report.html").is_file()


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path, started, data, model):
    out = tmp_path / "run"
    first = started(tune(data, model, out, "--trials", "5000"))
    wait_for(lambda: (out / "study.journal").exists(), first)
    for more in (["--resume"], []):
        second = subprocess.run(
            tune(data, model, out, "--trials", "3", *more), capture_output=True, text=True, check=False
        )
        assert second.returncode == 2
        expected = f"process {first.pid}" if more else "already holds another run"
        assert expected in second.stderr
    wait_for(lambda: len([*(out / ".search" / "runs").glob("*.json")]) > 2, first)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    stored = json.loads((out / "tuning.json").read_text())
    assert stored["stopped_because"] == "interrupted"
    assert stored["trials"]["complete"] > 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize(("full", "status"), [("stderr", 0), ("stdout", 2)])
def test_a_full_disk_behind_a_stream_ends_no_work_and_lost_results_are_said(tmp_path, data, model, full, status):
    out = tmp_path / "run"
    files = {name: (tmp_path / name).open("w+") for name in ("stdout", "stderr")}
    files[full] = open("/dev/full", "w")  # noqa: SIM115
    command = [*ADVISOR, "recommend", str(data), "--model", str(model), "--out", str(out)]
    done = subprocess.run(command, **files, check=False)
    for file in files.values():
        file.close()
    assert done.returncode == status
    assert (out / "report.html").is_file()
    if full == "stdout":
        assert "standard output could not be written (No space left on device)" in (tmp_path / "stderr").read_text()
    else:
        assert "recommendation " in (tmp_path / "stdout").read_text()


@pytest.mark.parametrize("closed", ["both", "stderr", "stderr from the start"])
def test_closed_streams_end_the_display_and_not_the_work(tmp_path, data, model, closed):
    out = tmp_path / "run"
    command = " ".join(tune(data, model, out, "--trials", "2"))
    shell = {
        "both": f"{command} 2>&1 | head -n 1",
        "stderr": f"{{ {command} 2>&1 1>&3 | head -n 1; }} 3>{tmp_path / 'printed'}",
        "stderr from the start": f"{command} 2>&- 1>{tmp_path / 'printed'}",
    }[closed]
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert json.loads((out / "tuning.json").read_text())["trials"]["complete"] == 2
    assert (out / "report.html").is_file()
    if closed != "both":
        assert "winner " in (tmp_path / "printed").read_text()
