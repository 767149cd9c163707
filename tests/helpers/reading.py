"""What every record that is read back has to do, for the tests of each."""

import json
import re
import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest

from tuner.errors import DataError
from tuner.parsing import hints_of
from tuner.records import to_jsonable

PATH = Path("folder") / "stored.json"


def read(kind, stored, **options):
    return kind.from_json(stored, path=PATH, fix="delete it", noun="record", **options)


def check_reading(kind, record):
    """`record` comes back as it was; what is unknown, missing or of another type is named in one `DataError`."""
    stored = json.loads(json.dumps(record.to_json()))
    again = read(kind, stored)
    assert type(again) is kind
    assert again.to_json() == to_jsonable(stored)
    refused(kind, stored | {"added_later": 1}, r"added_later: in no record of this version")
    if not kind.exact:
        assert read(kind, stored | {"added_later": 1}, ignores_added=True).to_json() == stored
    hints = hints_of(kind)
    for item in fields(kind):
        key = item.metadata.get("key", item.name)
        if not item.metadata.get("stored", True):
            refused(kind, stored | {key: None}, rf"{key}: in no record")
            continue
        if item.default is MISSING and item.default_factory is MISSING:
            refused(kind, {name: value for name, value in stored.items() if name != key}, rf"{key} is missing")
        if hints[item.name] is not Any:
            refused(kind, stored | {key: foreign(hints[item.name])}, rf"{key} is not what it should be")
    names = [item.metadata.get("key", item.name) for item in fields(kind)]
    refused(kind, "text", "it is not what it should be: named values")
    assert set(stored) <= set(names)
    return again


def foreign(hint):
    """A value that no such field holds: a number for texts, a text for the rest."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return 7 if {str, Path} & {*kinds} else "text"


def refused(kind, stored, said):
    with pytest.raises(DataError, match=r"stored\.json is damaged: .*" + said) as caught:
        read(kind, stored)
    assert caught.value.fix == "delete it"
    assert re.search(r"\n  why: .+\n  fix: delete it", str(caught.value))
