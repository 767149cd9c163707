"""What a tokenizer out of a folder may do to the program: its Rust library panics, and its patterns may never end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tuner.errors import ModelError
from tuner.patience import in_time

TRIAL_SECONDS = 10.0
"""A working tokenizer takes a millisecond for the sample."""
SAMPLE = " ".join(
    ("The quick brown fox, 12 times: don't (ever) stop_it! https://example.org/a?b=c\n\tÉtude 中文字 😀",
     *(sign * 48 for sign in ("a", "A", "0", "!", "ab", "\n", "  ")))
)  # fmt: skip
"""Ordinary text, and runs of one sign, on which patterns that try every way of dividing a run do not end."""


@contextmanager
def tokenizer_failures(name: str) -> Iterator[None]:
    """Turn what the tokenizers library raises, plain exceptions and panics, into `ModelError`s."""
    try:
        yield
    except BaseException as error:
        if not _is_of_tokenizers(error):
            raise
        raise _damaged(name, next(iter(str(error).splitlines()), "no reason given")[:200]) from error


def _is_of_tokenizers(error: BaseException) -> bool:
    """Whether a panic of Rust, whose class cannot be imported, or an error of the library, which has no class."""
    return type(error) is Exception or type(error).__name__ == "PanicException"


def _damaged(name: str, what: str) -> ModelError:
    return ModelError(
        f"the tokenizer of {name} does not work: {what}",
        why="texts cannot be turned into the model's tokens with it",
        fix="save the tokenizer that the model was trained with into its folder: tokenizer.save_pretrained(folder)",
    )


def try_tokenizer(tokenizer: Any, name: str) -> None:
    """Raise `ModelError` for a tokenizer that fails on a sample, or has not read it after ten seconds."""
    with tokenizer_failures(name):
        try:
            in_time(lambda: tokenizer([SAMPLE], truncation=True, max_length=128), seconds=TRIAL_SECONDS)
        except TimeoutError as error:
            raise _damaged(name, f"a sample of {len(SAMPLE)} characters is too much for it ({error})") from error
        except (TypeError, ValueError, KeyError, AssertionError):
            pass  # some read more than texts (tables, boxes), and say so where they are used
