"""Which picture formats are read, and what a file is that is none of them, by its first bytes or by its name."""

from __future__ import annotations

import re
from collections.abc import Callable

READ = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
"""Formats that Pillow decodes itself. It would also open others by their bytes, whatever the file is called, and start
Ghostscript for PostScript; so each opening names these."""

READ_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
     ".pnm", ".avif", ".jp2", ".j2k"}
)  # fmt: skip

HEAD_BYTES = 512
"""As many first bytes as `name_of_content` looks at."""

_OTHER_SUFFIXES = {
    "HEIC": (".heic", ".heif", ".hif"),
    "camera RAW": (".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf",
                   ".pef", ".srw", ".x3f", ".3fr"),
    "SVG": (".svg", ".svgz"),
    "PDF": (".pdf",),
    "EPS": (".eps", ".ps", ".epsf"),
    "Photoshop": (".psd", ".psb"),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "NIfTI": (".nii", ".nii.gz"),
    "MetaImage": (".mha", ".mhd"),
    "NRRD": (".nrrd",),
    "JPEG XL": (".jxl",),
    "OpenEXR": (".exr",),
    "Radiance HDR": (".hdr",),
    "TGA": (".tga",),
    "icon": (".ico", ".icns"),
    "PCX": (".pcx",),
    "DDS": (".dds",),
    "GIMP": (".xcf",),
    "WMF": (".wmf", ".emf"),
    "FITS": (".fits", ".fit"),
    "whole-slide": (".svs", ".ndpi", ".mrxs", ".czi"),
    "video": (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"),
}  # fmt: skip
_NAME_OF_SUFFIX = {suffix: name for name, suffixes in _OTHER_SUFFIXES.items() for suffix in suffixes}

_HEIF_BRANDS = re.compile(rb"(heic|heix|hevc|hevx|heim|heis|mif1|msf1)")
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0")
_LFS = b"version https://git-lfs"
_MAGIC: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("an EPS or PostScript file", lambda head: head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6"))),
    ("a PDF file", lambda head: b"%PDF-" in head[:64]),
    ("a HEIC picture", lambda head: head[4:8] == b"ftyp" and _HEIF_BRANDS.match(head[8:12])),
    ("a camera's RAW picture", lambda head: head[4:12] == b"ftypcrx " or head.startswith(_RAW)),
    ("a video", lambda head: re.match(rb"....ftyp(?!avi[fs])|\x1aE\xdf\xa3|RIFF....AVI ", head, re.DOTALL)),
    ("an SVG drawing", lambda head: re.search(rb"<svg[\s>]|<!DOCTYPE svg", head)),
    ("a web page", lambda head: re.match(rb"\s*(<!doctype html|<html|<head)", head, re.IGNORECASE)),
    ("a pointer of Git LFS, not the file itself (run git lfs pull)", lambda head: head.startswith(_LFS)),
    ("a Photoshop file", lambda head: head.startswith(b"8BPS")),
    ("a DICOM file", lambda head: head[128:132] == b"DICM"),
    ("a NIfTI file", lambda head: head[344:347] in (b"n+1", b"ni1")),
    ("a NumPy array", lambda head: head.startswith(b"\x93NUMPY")),
    ("a JPEG XL picture", lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))),
    ("an OpenEXR picture", lambda head: head.startswith(b"\x76\x2f\x31\x01")),
    ("a Radiance HDR picture", lambda head: head.startswith(b"#?RADIANCE")),
    ("a GIMP file", lambda head: head.startswith(b"gimp xcf")),
    ("an icon", lambda head: head.startswith((b"\0\0\x01\0", b"\0\0\x02\0", b"icns"))),
    ("a Windows metafile", lambda head: head.startswith(b"\xd7\xcd\xc6\x9a") or head[40:44] == b" EMF"),
    ("a DDS texture", lambda head: head.startswith(b"DDS ")),
    ("a FITS file", lambda head: head.startswith(b"SIMPLE  =")),
    ("an HDF5 file", lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    ("packed with gzip", lambda head: head.startswith(b"\x1f\x8b")),
    ("a zip archive", lambda head: head.startswith(b"PK\x03\x04")),
)  # fmt: skip


def name_of_content(head: bytes) -> str | None:
    """What a file is that is no picture of a format that is read, by its first bytes; None where they do not tell.

    >>> name_of_content(b"%!PS-Adobe-3.0 EPSF-3.0"), name_of_content(b"\\0\\0\\0\\x18ftypheic"), name_of_content(b"abc")
    ('an EPS or PostScript file', 'a HEIC picture', None)
    """
    return next((name for name, fits in _MAGIC if fits(head)), None)


def unread_format(file_name: str) -> str | None:
    """The format of a picture that is not read, by the ending of its name; None for any other file.

    >>> unread_format("IMG_0001.HEIC"), unread_format("scan.nii.gz"), unread_format("a.jpg")
    ('HEIC', 'NIfTI', None)
    """
    lowered = file_name.lower()
    if lowered.endswith(".nii.gz"):
        return "NIfTI"
    return _NAME_OF_SUFFIX.get("." + lowered.rpartition(".")[2])
