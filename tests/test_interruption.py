"""Signals: the first ends a search with its best so far, later ones disturb nothing, closed streams end no work."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import test_cli
import tiny

from tuner.interruption import Interruption

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


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in test_cli.reviews(120)))
    return path


def tune(data, model, out, *more):
    return [*ADVISOR, "tune", str(data), "--model", str(model), "--out", str(out), *more]


def wait_for(condition, process, *, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_search_that_is_ended_keeps_its_best_model(tmp_path, data, model, number):
    out = tmp_path / "run"
    process = subprocess.Popen(
        tune(data, model, out, "--trials", "5000", "--quiet"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path, data, model):
    out = tmp_path / "run"
    first = subprocess.Popen(
        tune(data, model, out, "--trials", "5000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
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
