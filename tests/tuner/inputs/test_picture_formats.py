"""Which formats of pictures are read, whatever a file is called, and what is said of the others."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tuner.inputs.formats import READ, READ_SUFFIXES, name_of_content, unread_format
from tuner.inputs.pictures import PictureError, Pictures, open_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a"])
def test_no_other_program_is_started_for_postscript(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **_: started.append(args))
    (tmp_path / name).write_bytes(EPS)
    for given in (tmp_path / name, str(tmp_path / name), EPS):
        with pytest.raises(PictureError, match="it is an EPS or PostScript file"):
            open_picture(given)
    assert started == []


@pytest.mark.parametrize("kind", READ)
def test_every_format_that_is_read_is_read_by_its_content(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(kind))
    picture = open_picture(tmp_path / "a.png")
    assert (picture.mode, picture.size) == ("RGB", (16, 16))
    if kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_a_picture_of_several_views_is_its_first_one(tmp_path: Path) -> None:
    views = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    views[0].save(tmp_path / "a.mpo", save_all=True, append_images=views[1:])
    assert abs(np.asarray(open_picture(tmp_path / "a.mpo")).astype(int).mean() - PIXELS.mean()) < 5


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "DDS", "ICNS", "QOI", "PDF", "EPS"])
def test_what_pillow_writes_in_other_formats_is_not_read(kind: str) -> None:
    with pytest.raises(PictureError, match="it is "):
        open_picture(encoded(kind))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x18ftypcrx ", "a camera's RAW picture"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (bytes(344) + b"n+1\0", "a NIfTI file"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", r"a pointer of Git LFS.*\(run git lfs pull\)"),
        (b"\xff\x0a\xfa", "a JPEG XL picture"),
        (b"\x1f\x8b\x08", "packed with gzip"),
        (b"PK\x03\x04", "a zip archive"),
    ],
)
def test_what_a_file_is_instead_is_said(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=f"it is {name}"):
        open_picture(tmp_path / "a.jpg")


def test_a_picture_whose_format_is_read_is_named_nothing_else() -> None:
    assert [kind for kind in READ if name_of_content(encoded(kind)) is not None] == []
    assert [suffix for suffix in READ_SUFFIXES if unread_format(f"a{suffix}")] == []
    assert unread_format("a.NII.GZ") == "NIfTI"
    assert unread_format("a.tar.gz") is None


def test_pipes_sockets_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "socket.png", "zero.png"):
        with pytest.raises(PictureError, match=r"it is a (named pipe|socket|device), not a file"):
            open_picture(tmp_path / name)
    with pytest.raises(PictureError, match="it is a folder"):
        open_picture(tmp_path)


def test_others_are_left_out_with_their_reason(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(EPS if i == 2 else encoded("PNG"))
    pictures = Pictures(sorted(map(str, tmp_path.glob("*.png"))))
    assert len(pictures[:]) == 4
    assert pictures.readable().tolist() == [0, 1, 3]
    assert "2.png (it is an EPS or PostScript file)" in pictures.note("images")
