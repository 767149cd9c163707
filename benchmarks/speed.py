"""Wall-clock time and peak memory of `advisor recommend` on many short texts or images, and of `advisor --help`.

    python benchmarks/speed.py [--data FILE] [--rows 10000 1000000] [--images 10000 100000] [--repeats 3]

Each run is a process of its own, measured from outside, import and model load included. The texts are real film-review
sentences; beyond their number they are repeated with a running number appended, so that no two are equal. The images
are the 64x64 photographs of sign digits as PNG files, shifted sideways beyond their number, read by MobileNetV1 0.25
and compared with Tiny ImageNet, whose profile is built by the first run and kept by the user's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))


def write_rows(path: Path, *, source: Path, rows: int) -> None:
    """A JSON-lines file of `rows` distinct short texts with two labels."""
    with source.open(encoding="utf-8") as lines:  # not splitlines(): texts may hold rarer line separators
        originals = [json.loads(line) for line in lines]
    with path.open("w", encoding="utf-8") as file:
        for index in range(rows):
            original = originals[index % len(originals)]
            text = original["text"] + (f" {index}" if index >= len(originals) else "")
            file.write(json.dumps({"text": text, "label": original["label"]}) + "\n")


def write_images(folder: Path, *, images: int) -> None:
    """PNG files of 64x64 photographs in folders of their class, no two equal."""
    with np.load(DATA / "images" / "sign_digits_64" / "data.npz") as stored:
        originals, labels = stored["X_all"], stored["y_all"]
    for index in range(images):
        original, shift = index % len(originals), index // len(originals)
        path = folder / str(labels[original]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(originals[original], shift, axis=1)).save(path)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a finished process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "text" / "mr" / "all.jsonl")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| command | seconds, median (min to max) | peak memory, MB |")
    print("|---|---|---|")
    seconds, memory = zip(
        *(measure([sys.executable, "-m", "advisor", "--help"]) for _ in range(options.repeats)), strict=True
    )
    print(f"| advisor --help | {spread(seconds)} | {statistics.median(memory):.0f} |")
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.jsonl"
            write_rows(path, source=options.data, rows=rows)
            report(f"{rows:,} texts", recommend(path), repeats=options.repeats)
        for images in options.images:
            path = Path(folder) / f"{images}"
            write_images(path, images=images)
            model, source = DATA / "models" / "mobilenet_v1_0.25_128_imagenet", DATA / "source/tinyimagenet32_images"
            command = [*recommend(path), "--model", str(model), "--source", str(source)]
            report(f"{images:,} images", command, repeats=options.repeats)


def recommend(path: Path) -> list[str]:
    """The command, without its output folder."""
    return [sys.executable, "-m", "advisor", "recommend", str(path), "--quiet"]


def report(what: str, command: list[str], *, repeats: int) -> None:
    """A line of the table: several runs into folders of their own."""
    with tempfile.TemporaryDirectory() as out:
        runs = [measure([*command, "--out", str(Path(out) / str(run))]) for run in range(repeats)]
    seconds, memory = zip(*runs, strict=True)
    print(f"| advisor recommend, {what} | {spread(seconds)} | {statistics.median(memory):.0f} |", flush=True)


def spread(values: tuple[float, ...]) -> str:
    """Median with the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
