"""Array files whose headers promise what is not there, or more than a memory holds, are refused unread."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from advisor.data import image_arrays
from advisor.data.new_rows import read_images
from advisor.similarity.image_build import read_source_pictures
from helpers.loading import load_target
from tuner.errors import DataError


def header(shape: tuple[int, ...], descr: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def archive(path: Path, *, packed: bool = False, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


LABELS = header((24,), "<i8") + np.arange(24).tobytes()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (header((10**12, 32, 32, 3), "|u1") + bytes(100), "array 'images' should hold 1,000,000,000,000 × 32"),
        (header((10**6, 10**6, 10**6, 10**6), "<f8") + bytes(100), "should hold"),
        (header((10**12,), "|V0"), "should hold 1,000,000,000,000 values"),
        (header((10**12, 8, 8), "|S0"), "should hold"),
        (header((10**12, 0, 8), "|u1"), "its images have no pixels"),
        (header((-5, 8, 8), "|u1") + bytes(320), r"has the shape \(-5, 8, 8\)"),
        (header((24, 8, 8), "|O") + bytes(1600), "array 'images' holds Python objects"),
        (header((24, 8, 8), [("a", "|O")]) + bytes(1600), "array 'images' holds Python objects"),
        (header((24, 8, 8), [("a", "|u1")]) + bytes(1600), "these are no images"),
        (b"\x93NUMPY\x01\x00\x05\x00" + b"(" * 5000, "cannot be read as an array file"),
        (header((1,), "|u1").replace(b"'descr'", b"b'desc'"), "cannot be read as an array file"),
        (b"\x93NUMPY\x09\x09\x05\x00abcde", "cannot be read as an array file"),
        (b"no array", "cannot be read as an array file"),
    ],
)
def test_headers_that_cannot_be_believed(images: bytes, message: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", images=images, labels=LABELS)
    for read in (load_target, read_images):
        with pytest.raises(DataError, match=message):
            read(path)
    with pytest.raises(DataError):
        read_source_pictures([path])


def test_a_file_that_fills_the_memory_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_arrays, "SMALL_BYTES", 1_000_000)
    content = header((2000, 32, 32), "|u1") + bytes(2000 * 32 * 32)
    path = archive(tmp_path / "a.npz", packed=True, images=content, labels=LABELS)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(np.lib.format, "read_array", None)
    for read in (load_target, read_images, lambda given: read_source_pictures([given])):
        with pytest.raises(DataError, match=r"array 'images' unpacks from 0\.0 MB to 2 MB"):
            read(path)


def test_what_the_memory_does_not_hold_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((24, 32, 32), np.uint8), labels=np.arange(24) % 2)
    monkeypatch.setattr("tuner.memory.free_memory", lambda: 1000)
    with pytest.raises(DataError, match=r"array 'images', 24 × 32 × 32, needs 0\.0 GB, and 0\.0 GB are free"):
        load_target(tmp_path / "a.npz")


def test_files_with_a_password_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", images=header((1, 8, 8), "|u1") + bytes(64))
    content = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit that says so, in both headers
        content[content.index(magic) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an array file"):
        load_target(path)


def test_one_array_alone_is_named_so(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((24, 8, 8), np.uint8))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match="it holds one array"):
        load_target(tmp_path / "a.npz")


def test_large_constant_images_are_still_read(tmp_path: Path) -> None:
    images = np.zeros((24, 64, 64), np.uint8)
    images[:, 0, 0] = np.arange(24)
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.arange(24) % 2)
    assert load_target(tmp_path / "a.npz").n_examples == 24
