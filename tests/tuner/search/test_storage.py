"""Databases for the study: passwords stay secret, locks are waited for, two runs may begin together."""

import sqlite3
import subprocess
import sys
import threading
import time

import pytest

import tuner.search.storage
from tuner.errors import OptionError, StorageError
from tuner.search.storage import open_storage, storage_failures, without_password
from tuner.search.study import open_study

SECRET = "s3cr/et@x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("mysql+pymysql://me:a/b@c@host:3306/db", "mysql+pymysql://me:***@host:3306/db"),
        ("Could not parse 'postgresql://me:p w@host'", "Could not parse 'postgresql://me:***@host'"),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://host/db?sslpassword=s3cret", "postgresql://host/db?sslpassword=***"),
        ("me:s3cret@host", "me:***@host"),
        ("://me:s3cret@host", "://me:***@host"),
        ("postgresql:/me:s3cret@host/db", "postgresql:/me:***@host/db"),
        ("cannot open 'me:s3/c:ret@host/db'", "cannot open 'me:***@host/db'"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Ds3cret", "mssql+pyodbc:///?odbc_connect=***"),
        ("DRIVER=x;PWD=s3cret;UID=me", "DRIVER=x;PWD=***;UID=me"),
        ("redis://host/0?token=s3cret&ssl_keyfile=s3cret&x=1", "redis://host/0?token=***&ssl_keyfile=***&x=1"),
        ("sqlite:///trials.db", "sqlite:///trials.db"),
        ("sqlite:////home/me@work/trials.db", "sqlite:////home/me@work/trials.db"),
        ("sqlite:///C:/me/trials.db", "sqlite:///C:/me/trials.db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert without_password(text) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@localhost:1/db",
        f"nonsense://me:{SECRET}@localhost/db",
        f"sqlite://me:{SECRET}@/no/such/file.db",
        f"postgresql://me:{SECRET}@localhost:port/db",
        f"mysql://me@localhost/db?passwd={SECRET}",
        f"me:{SECRET}@localhost",
        f"postgresql:/me:{SECRET}@localhost/db",
        f"postgresql://localhost/db?user=me&pwd={SECRET}",
    ],
)
def test_no_message_tells_a_password(url):
    with pytest.raises(OptionError, match="cannot be opened") as error:
        open_storage(url)
    assert SECRET not in f"{error.value}{error.value.__cause__}"
    assert "s3cr" not in str(error.value)


def test_a_failing_database_tells_no_password_and_keeps_the_run():
    from sqlalchemy.exc import OperationalError

    url = f"postgresql://me:{SECRET}@localhost/db"
    with pytest.raises(StorageError, match="failed during the search") as error, storage_failures(url):
        raise OperationalError("select", {}, Exception(f"no connection for me with {SECRET}"))
    assert SECRET not in str(error.value)


def locked_for(path, seconds):
    """Lock a database in another thread, as another process would."""
    entered = threading.Event()

    def hold():
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        entered.set()
        time.sleep(seconds)
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    return thread


def test_a_locked_database_is_waited_for(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'trials.db'}")
    study = open_study(tmp_path, seed=0, storage=storage, name=None, run_key="x")
    thread = locked_for(tmp_path / "trials.db", 7)  # longer than the driver waits by itself
    study.tell(study.ask(), 0.5)
    thread.join()
    assert [trial.value for trial in study.trials] == [0.5]


def test_a_database_that_stays_locked_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tuner.search.storage, "LOCK_SECONDS", 1)
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    study = open_study(tmp_path, seed=0, storage=open_storage(url), name=None, run_key="x")
    thread = locked_for(tmp_path / "trials.db", 4)
    with pytest.raises(StorageError, match="database is locked"), storage_failures(url):
        study.ask()
    with pytest.raises(OptionError, match="database is locked"):
        open_storage(f"sqlite:///{tmp_path / 'trials.db'}")
    thread.join()


BEGIN = """
import sys
from tuner.search.storage import open_storage
from tuner.search.study import open_study
from pathlib import Path
url, run, name = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
study = open_study(Path("."), seed=0, storage=open_storage(url), name=name or None, run_key=run)
study.tell(study.ask(), 0.5)
print(len(study.trials))
"""


@pytest.mark.parametrize("name", ["", "shared"])
def test_runs_that_begin_together_on_a_new_database_do_not_disturb_each_other(tmp_path, name):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, url, run, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )
        for run in "abc"
    ]  # fmt: skip
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=120) for process in started]
    codes = [process.returncode for process in started]
    if name:  # one study is one run's
        assert sorted(codes) == [0, 1, 1], ended
        assert all("already holds the trials of another run" in errors for _, errors in ended if errors)
    else:
        assert codes == [0, 0, 0], ended
        assert [printed for printed, _ in ended] == ["1\n"] * 3
