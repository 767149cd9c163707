"""JSON values become the fields of dataclasses, as their type hints say, and everything that does not fit is named."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin


class AsText:
    """Mixin of what stands in JSON as one text: `str` writes it, and ``parse`` reads it or raises `ValueError`."""

    @classmethod
    def parse(cls, text: str) -> Any:
        """The object that a text stands for."""
        raise NotImplementedError


WORDS: Mapping[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(kw_only=True)
class Misfits:
    """Where JSON values are not what was to be read: dotted paths, in the order in which they were met.

    The items of a list share its path, since what is wrong with one of them is mostly wrong with all.
    """

    missing: dict[str, None] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)

    @property
    def distance(self) -> tuple[int, int]:
        """How far a value is from the kind that was asked for: what is missing says most, then what does not fit."""
        return len(self.missing), len(self)

    def __len__(self) -> int:
        return len(self.missing) + len(self.wrong) + len(self.unknown)

    def in_words(self, *, noun: str) -> str:
        """Tell all misfits in one line; `noun` says what the unknown names are not part of.

        >>> found = Misfits(missing={"a.b": None}, wrong={"c": "a number"}, unknown={"d": None, "e": None})
        >>> found.in_words(noun="run")
        'a.b is missing; c is not what it should be: a number; d, e: in no run of this version'
        """
        parts = [f"{path} is missing" for path in self.missing]
        parts += [f"{path or 'it'} is not what it should be: {kind}" for path, kind in self.wrong.items()]
        if self.unknown:
            parts.append(f"{', '.join(self.unknown)}: in no {noun} of this version")
        return "; ".join(parts)

    def take(self, other: Misfits) -> None:
        """Add the misfits of another."""
        self.missing |= other.missing
        self.wrong |= other.wrong
        self.unknown |= other.unknown


def parse(kind: Any, value: Any, *, at: str, ignores: bool, found: Misfits) -> Any:
    """A JSON value as an object of the type that a hint names.

    Args:
        kind: the hint. Dataclasses, tuples, mappings, optional values and other unions, enums, paths, arrays, plain
            values and `Any` are read. ``Annotated[X, Part]`` is a mapping that is checked for holding the fields of the
            dataclass `Part`, and stays a mapping, with whatever else it holds.
        value: out of a JSON file.
        at: the dotted path of the value, for what is found.
        ignores: whether names that a dataclass does not have are passed over; those of an ``exact`` one never are.
        found: takes what does not fit.

    Returns:
        The object; None in the place of what does not fit, which is then in `found`.
    """
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        parse(get_args(kind)[1], value, at=at, ignores=True, found=found)
        return value
    if origin in (Union, types.UnionType):
        return _parse_union(get_args(kind), value, at=at, ignores=ignores, found=found)
    if isinstance(kind, type) and issubclass(kind, AsText):
        try:
            return kind.parse(value if isinstance(value, str) else "")
        except ValueError:
            found.wrong.setdefault(at, "a name")
            return None
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, at=at, ignores=ignores, found=found)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) == len(value):
            return tuple(
                parse(inner, item, at=at, ignores=ignores, found=found)
                for inner, item in zip(kinds, value, strict=True)
            )
    elif _is_mapping(kind) and isinstance(value, Mapping):
        of_key, of_value = get_args(kind) or (str, Any)
        return {
            parse(of_key, _key(of_key, key), at=at, ignores=ignores, found=found): parse(
                of_value, item, at=f"{at}.{key}" if at else str(key), ignores=ignores, found=found
            )
            for key, item in value.items()
        }
    elif kind in WORDS and isinstance(value, (int, float) if kind is float else kind):
        if kind is bool or not isinstance(value, bool):
            return value
    elif kind is types.NoneType and value is None:
        return None
    elif isinstance(kind, type) and issubclass(kind, Enum):
        if value in [member.value for member in kind]:
            return kind(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif getattr(origin or kind, "__name__", "") == "ndarray" and (array := _array(value)) is not None:
        return array
    found.wrong.setdefault(at, _in_words(kind))
    return None


def _parse_fields(kind: Any, value: Any, *, at: str, ignores: bool, found: Misfits) -> Any:
    """A mapping as a dataclass, with its fields' metadata as `tuner.records.Record.to_json` reads it."""
    if not isinstance(value, Mapping):
        found.wrong.setdefault(at, _in_words(kind))
        return None
    fields = [item for item in dataclasses.fields(kind) if item.metadata.get("stored", True)]
    stored = {item.metadata.get("key", item.name): item for item in fields}
    before = len(found)

    def path(name: Any) -> str:
        return f"{at}.{name}" if at else str(name)

    if not ignores or getattr(kind, "exact", False):
        found.unknown |= dict.fromkeys(path(name) for name in value if name not in stored)
    hints, values = hints_of(kind), {}
    for name, item in stored.items():
        if name in value:
            values[item.name] = parse(hints[item.name], value[name], at=path(name), ignores=ignores, found=found)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            found.missing[path(name)] = None
    return kind(**values) if len(found) == before else None


def _parse_union(kinds: tuple[Any, ...], value: Any, *, at: str, ignores: bool, found: Misfits) -> Any:
    """Read a value as the first kind that fits; else the misfits are those of the kind that fits best."""
    nearest: Misfits | None = None
    for kind in kinds:
        own = Misfits()
        read = parse(kind, value, at=at, ignores=ignores, found=own)
        if not own:
            return read
        inside = at not in own.wrong  # the kind was right, something in it was not
        if inside and (nearest is None or own.distance < nearest.distance):
            nearest = own
    if nearest is None:
        nearest = Misfits(wrong={at: " or ".join(_in_words(kind) for kind in kinds)})
    found.take(nearest)
    return None


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The type hints of a dataclass, which every module of a record must be able to resolve."""
    return typing.get_type_hints(kind, include_extras=True)


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _key(kind: Any, key: Any) -> Any:
    """A name in JSON as a key of the mapping that was written: whole numbers became texts."""
    return int(key) if kind is int and isinstance(key, str) and key.lstrip("-").isdecimal() else key


def _array(value: Any) -> Any:
    """Nested lists of numbers as an array, null as NaN; None where they are none."""
    import numpy as np  # only what holds arrays needs it

    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = array.astype(float)
    except (ValueError, TypeError):
        return None
    return array if array.ndim and array.dtype.kind in "biuf" else None


def _in_words(kind: Any) -> str:
    """What a hint asks for, for a message.

    >>> _in_words(float), _in_words(tuple[int, int]), _in_words(dict[str, Any]), _in_words(types.NoneType)
    ('a number', 'a list of 2', 'named values', 'null')
    """
    origin = get_origin(kind) or kind
    if origin is Annotated or dataclasses.is_dataclass(kind) or _is_mapping(kind):
        return "named values"
    if origin is tuple:
        kinds = get_args(kind)
        return "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)}"
    if kind is types.NoneType:
        return "null"
    if kind is Path:
        return "a path"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(str(member.value) for member in kind)}"
    return WORDS.get(kind, "a list of numbers")
