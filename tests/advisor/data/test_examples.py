"""The built-in examples: real docstrings, masked, none twice, none private, the same every time; and digits."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from advisor.data import examples
from advisor.data.examples import LIBRARIES, load_example, masked_paragraph
from tuner.errors import DataError, OptionError


def test_docstrings_of_every_library_masked_and_distinct() -> None:
    start = time.process_time()  # what else runs on the machine does not count
    frame = load_example("docstrings")
    assert time.process_time() - start < 20  # under 10 s on an idle machine
    counts = frame["label"].value_counts()
    assert set(counts.index) == set(LIBRARIES)
    assert counts.max() <= 500
    assert counts.min() >= 150
    assert not frame["text"].str.casefold().duplicated().any()
    assert frame["text"].str.split().str.len().min() >= 5
    leak = re.compile(
        r"\b(?:numpy|np|scipy|pandas|pd|sklearn|scikit-learn|torch|pytorch|transformers|optuna|plt)\b", re.I
    )
    assert frame["text"][frame["text"].str.contains(leak)].tolist() == []
    again = load_example("docstrings")  # out of the cache this time
    assert again.equals(frame)


def test_unknown_examples_and_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        OptionError, match=r"example:docstring: there is no such example\. Did you mean 'docstrings'"
    ) as caught:
        load_example("docstring")
    assert caught.value.fix == "choose one of: example:docstrings, example:digits"
    with pytest.raises(OptionError, match=r"Did you mean 'digits'"):
        load_example("digit")
    monkeypatch.setattr(examples, "LIBRARIES", {"numpy": "numpy", "no-such-library": "nothing"})
    with pytest.raises(DataError, match="needs at least two of its libraries") as caught_data:
        load_example("docstrings")
    assert "found: numpy" in caught_data.value.why


def test_masking_takes_whole_words_whatever_their_case() -> None:
    assert masked_paragraph("Convert a NumPy array\n   to PD.DataFrame and torch_dtype.\n\nMore about numpy") == (
        "Convert a the library array to the library.DataFrame and the library_dtype."
    )
    assert masked_paragraph("Transformers transform inputs; annotate npz, scikit-learn") == (
        "the library transform inputs; annotate npz, the library"
    )


def library(folder: Path, name: str, modules: dict[str, str]) -> None:
    for module, source in modules.items():
        path = folder / name / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


@pytest.fixture
def two_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    function = 'def {}():\n    """{}"""\n'.format
    shared = function("both", "This text stands in both of the libraries.")
    library(
        tmp_path,
        "first",
        {
            "__init__.py": "raise RuntimeError('nothing may be imported')",
            "a.py": function("one", "Do the first thing with np arrays.\n\n    Details.")
            + function("_hidden", "A private function is not for readers.")
            + function("tiny", "Too short.")
            + function("again", "Do the FIRST thing with np arrays.")
            + shared,
            "b.py": 'class Thing:\n    """A thing that holds some other things."""\n'
            '    def method(self):\n        """Return the things it holds, sorted."""\n'
            '    def _method(self):\n        """Return the private things it holds."""\n',
            "_c.py": "__all__ = ['shown']\n"
            + function("shown", "Shown by the list of exports.")
            + function("kept", "Kept out of the list of exports."),
            "tests/test_a.py": function("test", "A test of the first thing here."),
            "broken.py": "def broken(:\n",
        },
    )
    library(tmp_path, "second", {"__init__.py": function("other", "Do another thing with the arrays.") + shared})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(examples, "LIBRARIES", {"first": "first", "second": "second"})
    monkeypatch.setattr(examples.importlib.metadata, "version", lambda name: "1.0")
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(tmp_path / "home"))
    return tmp_path


EXPECTED = {
    ("Do the first thing with the library arrays.", "first"),
    ("A thing that holds some other things.", "first"),
    ("Return the things it holds, sorted.", "first"),
    ("Shown by the list of exports.", "first"),
    ("Do another thing with the arrays.", "second"),
}


def test_private_tiny_and_repeated_docstrings_are_dropped_and_nothing_is_imported(two_libraries: Path) -> None:
    frame = load_example("docstrings")
    rows = {(text, label) for text, label in frame.to_numpy()}
    assert rows == EXPECTED
    assert "first" not in sys.modules
    assert len(frame) == len(EXPECTED)


def test_the_cache_is_used_and_made_again_when_damaged(two_libraries: Path) -> None:
    load_example("docstrings")
    (cached,) = (two_libraries / "home" / "examples").glob("docstrings-*.jsonl")
    lines = cached.read_text().splitlines()
    cached.write_text("\n".join(line.replace("sorted", "cached") for line in lines))
    assert "Return the things it holds, cached." in set(load_example("docstrings")["text"])
    for damaged in ("{", '{"text": "x"}\n', "\n".join(lines[:1])):
        cached.write_text(damaged)
        assert len(load_example("docstrings")) == len(EXPECTED)
        assert len(cached.read_text().splitlines()) == len(EXPECTED)


def test_a_cache_folder_that_cannot_be_written_does_not_stop_it(
    two_libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two_libraries / "file").write_text("in the way")
    monkeypatch.setenv("TRANSFER_ADVISOR_HOME", str(two_libraries / "file"))
    assert len(load_example("docstrings")) == len(EXPECTED)


def test_digits_are_grey_pictures_of_ten_classes() -> None:
    frame = load_example("digits")
    assert list(frame.columns) == ["image", "label"]
    assert len(frame) == 1797
    assert sorted(frame["label"].unique()) == [str(digit) for digit in range(10)]
    assert frame["label"].value_counts().min() >= 170
    images = np.stack(frame["image"].tolist())
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    # The first row is a nought: ink around, none in the middle or the corners.
    assert frame["label"][0] == "0"
    assert images[0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert images[0, 3:5, 3:5].tolist() == [[0, 0], [0, 0]]


def test_digits_are_pictures_that_every_model_can_read() -> None:
    from tuner.inputs.pictures import open_picture

    image = load_example("digits")["image"][0]
    picture = open_picture(image)
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == image[:, :, None]).all()
