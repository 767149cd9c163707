"""Wall-clock time and peak memory of `advisor recommend` on 10,000 and 1,000,000 short texts, and of `advisor --help`.

    python benchmarks/speed.py [--data FOLDER] [--rows 10000 1000000] [--repeats 3]

Each run is a process of its own, measured from outside, import and model load included. The texts are real film-review
sentences; beyond their number they are repeated with a running number appended, so that no two are equal.
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
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    advisor = [sys.executable, "-m", "advisor"]
    print("| command | seconds, median (min to max) | peak memory, MB |")
    print("|---|---|---|")
    seconds, memory = zip(*(measure([*advisor, "--help"]) for _ in range(options.repeats)), strict=True)
    print(f"| advisor --help | {spread(seconds)} | {statistics.median(memory):.0f} |")
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.jsonl"
            write_rows(path, source=options.data, rows=rows)
            runs = [
                measure([*advisor, "recommend", str(path), "--out", str(Path(folder) / f"{rows}-{run}"), "--quiet"])
                for run in range(options.repeats)
            ]
            seconds, memory = zip(*runs, strict=True)
            print(f"| advisor recommend, {rows:,} rows | {spread(seconds)} | {statistics.median(memory):.0f} |")


def spread(values: tuple[float, ...]) -> str:
    """Median with the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
