"""Databases that a study may lie in: opened so that others may use them too, and refusals that tell no password."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.errors import OptionError, StorageError

if TYPE_CHECKING:
    import optuna

LOCK_SECONDS = 30
"""For which a database that another process has locked is waited for."""
_PASSWORD = re.compile(
    r"(?P<before>(?:^|/|[\s'\"(])[^\s/:@'\"]*:(?!/)).*(?P<after>@)"  # of a URL that lacks its slashes, too
    r"|(?P<name>\b\w*(?:pass|pwd|secret|token|key|auth|odbc_connect|credential)\w*=)[^\s&;'\"]*",
    re.IGNORECASE,
)
_RACE = re.compile("already exists|locked|unique constraint|duplicate", re.IGNORECASE)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The Optuna storage at a URL. Its tables are made where they are not there yet, also beside another process that
    makes them.

    Raises `OptionError` where there is none or it cannot be reached.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    # Other databases wait for locks by their own settings.
    kwargs = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=kwargs))
        except (SQLAlchemyError, ImportError, ValueError, OSError, RuntimeError, TypeError) as error:
            if isinstance(error, SQLAlchemyError) and _RACE.search(str(error)) and time.monotonic() < until:
                time.sleep(0.2)
                continue
            raise OptionError(
                f"--storage {without_password(url)!r} cannot be opened ({_reason(error, url=url)})",
                why="the trials of the search would be stored there",
                fix="pass a URL that Optuna takes, such as sqlite:///trials.db, or omit --storage",
            ) from None  # the cause may tell the password


@contextmanager
def storage_failures(url: str | None) -> Iterator[None]:
    """Turn what a database refuses while a search uses it into a `StorageError`: its runs are kept."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
        named = "the study's storage" if url is None else f"--storage {without_password(url)!r}"
        raise StorageError(
            f"{named} failed during the search ({_reason(cause, url=url)})",
            why="every trial is reported there before the next one begins",
            fix="make the database available again",
        ) from None


def without_password(text: str) -> str:
    """A text in which the passwords of URLs are replaced by ``***``.

    >>> without_password("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    """

    def masked(found: re.Match[str]) -> str:
        return f"{found['name']}***" if found["name"] else f"{found['before']}***{found['after']}"

    return _PASSWORD.sub(masked, text)


def _reason(error: BaseException, *, url: str | None) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    if url is not None and (secret := _password_of(url)):  # drivers may quote it as it was before it was encoded
        line = line.replace(secret, "***")
    return f"{type(error).__name__}: {without_password(line)[:200]}" if line else type(error).__name__


def _password_of(url: str) -> str | None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).password
    except (ArgumentError, ValueError):
        return None
