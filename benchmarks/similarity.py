"""Similarity of real text sets to the shipped source profile, beside anchors whose place is known.

Two profiles are used. The shipped one measures every target set, and sentences of Wikipedia articles that it never saw,
by length. The articles and books that it was built from cannot test it, so a second one is built without every other
article of WikiText-2 and stretch of the books; those left out give the sets that must stay near (only featured
articles, only books, single articles) and those that must not (shuffled words, random letters).

Run: python benchmarks/similarity.py   (data in $TRANSFER_DATA, default ../shared/data; writes benchmarks/results/)
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from wikipedia_profile import FRESH, FRESH_KINDS, STRETCH, build, read

from advisor.measures.probed import take_rows
from advisor.similarity.build import _LetterTexts, _shuffle_words
from advisor.similarity.distance import surprisal
from advisor.similarity.library import find_profile
from advisor.similarity.passages import BANDS, SourceText, cut_passages
from advisor.similarity.profile import SourceProfile
from advisor.similarity.similarity import band_of, measure_similarity
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.records import write_text_atomically

ROWS = 800
DRAWS = 40
NOT_ENGLISH = ("arsarcasm_arabic", "gnad10_german", "http_params", "indonlu_smsa", "smiles_hiv")
COLUMNS = (
    "set", "kind", "profile", "rows", "raw", "raw_n50_sd", "raw_n50_n400", "way", "score", "low", "high", "cut_low",
    "cut_high", "verdict", "p_similar", "frechet_infinity", "trigram_distance", "support_share", "seconds",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRANSFER_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    backbone = load_backbone()
    shipped = find_profile(None, backbone=backbone)
    if shipped is None:
        raise SystemExit("no profile of the default model is installed")
    rows = [
        measure(texts, name=name, kind="target", backbone=backbone, profile=shipped)
        for name, texts in target_sets(arguments.data)
    ]
    rows += [
        measure(texts, name=name, kind="near", backbone=backbone, profile=shipped)
        for name, texts in fresh_sets(arguments.data, backbone)
    ]
    half = build(arguments.data, backbone=backbone, half=True)
    for name, kind, texts in anchor_sets(left_out(arguments.data), backbone):
        rows.append(measure(texts, name=name, kind=kind, backbone=backbone, profile=half))
    rows.sort(key=lambda row: row["raw"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "similarity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    table = markdown(rows)
    write_text_atomically(arguments.out / "similarity.md", table)
    print(table)


def target_sets(data: Path) -> list[tuple[str, list[str]]]:
    """A fixed random sample of every text set, all its files together."""
    found = []
    for folder in sorted((data / "text").iterdir()):
        texts = [json.loads(line)["text"] for file in sorted(folder.glob("*.jsonl")) for line in file.open()]
        chosen = np.random.default_rng(0).permutation(len(texts))[:ROWS]
        found.append((folder.name, [texts[i] for i in chosen]))
    return found


def fresh_sets(data: Path, backbone: Backbone) -> list[tuple[str, list[str]]]:
    """Sentences of Wikipedia articles that the profile holds nothing of, by length band."""
    split = [row for row in read(data, "wikisplit", "sentences") if row["part"] == FRESH]
    lengths = backbone.encode([row["text"] for row in split]).lengths.tolist()
    found = []
    for lowest, highest in BANDS:
        texts = [
            row["text"]
            for row, length in zip(split, lengths, strict=True)
            if row["kind"] == FRESH_KINDS[lowest] and lowest <= length <= highest
        ]
        found.append((f"fresh Wikipedia, {lowest} to {highest} tokens", texts[: ROWS // 2]))
    return found


def left_out(data: Path) -> dict[str, list[str]]:
    """Paragraphs that the second profile never sees, by article or stretch of a book."""
    found: dict[str, list[str]] = defaultdict(list)
    for source in ("wikitext2", "books"):
        records = read(data, source, "paragraphs")
        names = [r.get("article") or f"{r['source']}, stretch {i // STRETCH}" for i, r in enumerate(records)]
        order = {name: number for number, name in enumerate(dict.fromkeys(names))}
        for record, name in zip(records, names, strict=True):
            if order[name] % 2:
                found[f"{source}: {name}"].append(record["text"])
    return found


def anchor_sets(left_out: dict[str, list[str]], backbone: Backbone) -> list[tuple[str, str, list[str]]]:
    rng = np.random.default_rng(1)

    def passages(groups: list[str]) -> list[str]:
        texts = [text for group in groups for text in left_out[group]]
        cut = cut_passages(SourceText(texts=tuple(texts), parts=(len(texts),)), tokenizer=backbone.tokenizer, seed=1)
        pool = [passage.text for band in cut for passage in rng.permutation(np.array(band, dtype=object))[: ROWS // 4]]
        return [pool[i] for i in rng.permutation(len(pool))]

    wiki = [group for group in left_out if group.startswith("wikitext2")]
    books = [group for group in left_out if group.startswith("books")]
    articles = [(group, passages([group])) for group in wiki if "<unk>" not in group]
    single = sorted(articles, key=lambda article: -len(article[1]))[:5]
    only_wiki, only_books = passages(wiki), passages(books)
    both = [text for pair in zip(only_wiki, only_books, strict=False) for text in pair][:ROWS]
    lengths = backbone.encode(both).lengths
    letters = _LetterTexts(backbone, rng)
    return [
        ("featured articles and books", "near", both),
        ("only featured articles", "near", only_wiki),
        ("only books", "near", only_books),
        *((group.replace("wikitext2", "article"), "near", texts) for group, texts in single),
        *((group, "near", passages([group])) for group in books[:: max(len(books) // 3, 1)][:3]),
        ("shuffled words", "ladder", [_shuffle_words(text, rng) for text in both]),
        ("random letters", "ladder", [letters.draw(int(length)) for length in lengths]),
        ("random letters, 8 to 16 tokens", "ladder", [letters.draw(12) for _ in range(ROWS)]),
    ]


def measure(texts: list[str], *, name: str, kind: str, backbone: Backbone, profile: SourceProfile) -> dict[str, Any]:
    encoded = backbone.encode(texts)
    features = backbone.block_features(encoded)
    started = time.perf_counter()
    measured = measure_similarity(
        features, lengths=encoded.lengths, texts=texts, profile=profile, how_to_measure="advisor source build"
    )
    seconds = time.perf_counter() - started
    spread, gap = sample_size_effect(features, encoded.lengths, profile)
    measures = measured.measures
    frechet = measures["frechet_infinity"]["value"]
    assert measured.score is not None
    assert measured.interval is not None
    assert measured.cuts is not None
    print(f"{name:<50} {measured.verdict:<11} {measured.score:.2f}", flush=True)
    return {
        "set": name,
        "kind": kind,
        "profile": profile.name,
        "rows": len(texts),
        "raw": measures["excess_knn_surprisal"]["value"],
        "raw_n50_sd": spread,
        "raw_n50_n400": gap,
        "way": round(way_to_letters(measures["excess_knn_surprisal"]), 3),
        "score": round(measured.score, 3),
        "low": round(measured.interval[0], 3),
        "high": round(measured.interval[1], 3),
        "cut_low": round(measured.cuts[0], 3),
        "cut_high": round(measured.cuts[1], 3),
        "verdict": measured.verdict,
        "p_similar": None if measured.p_similar is None else round(measured.p_similar, 3),
        "frechet_infinity": None if frechet is None else round(frechet, 3),
        "trigram_distance": round(measures["trigram_distance"]["value"], 3),
        "support_share": round(measures["support_share"]["value"], 3),
        "seconds": round(seconds, 2),
    }


def way_to_letters(excess: dict[str, Any]) -> float:
    """Excess surprisal as a share of that of random letters of the same lengths."""
    bands = excess["by_band"].values()
    return float(excess["value"] / np.average([b["letters"] for b in bands], weights=[b["rows"] for b in bands]))


def sample_size_effect(
    features: np.ndarray, lengths: np.ndarray, profile: SourceProfile
) -> tuple[float | None, float | None]:
    """Over draws of 50 rows: standard deviation of the raw value, and its mean distance from that of 400 rows."""
    if len(lengths) < 450:
        return None, None
    bands = band_of(lengths, profile)
    excess = np.empty(len(lengths))
    for number, band in enumerate(profile.bands):
        chosen = np.flatnonzero(bands == number)
        if len(chosen):
            raw = (
                surprisal(profile.distances(take_rows(features, chosen), band))
                - surprisal(band.held_out).mean(1)[:, None]
            )
            excess[chosen] = raw.mean(0)
    rng = np.random.default_rng(0)
    few, gaps = [], []
    for _ in range(DRAWS):
        order = rng.permutation(len(excess))
        few.append(excess[order[:50]].mean())
        gaps.append(abs(few[-1] - excess[order[50:450]].mean()))
    return round(float(np.std(few)), 3), round(float(np.mean(gaps)), 3)


def markdown(rows: list[dict[str, Any]]) -> str:
    shown = (
        ("set", "set"), ("rows", "rows"), ("raw", "excess surprisal, nats"), ("raw_n50_n400", "n = 50 against 400"),
        ("way", "share of the way to random letters"), ("score", "score"), ("cuts", "cuts"), ("verdict", "verdict"),
        ("frechet_infinity", "Fréchet, n → ∞"), ("trigram_distance", "trigrams"), ("support_share", "support"),
    )  # fmt: skip
    lines = [
        "Written by `benchmarks/similarity.py`. Sorted by excess k-NN surprisal; intervals are 95 % bootstrap ones.",
        "",
        "| " + " | ".join(title for _, title in shown) + " |",
        "|" + "---|" * len(shown),
    ]
    for row in rows:
        cells = row | {
            "score": f"{row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            "cuts": f"{row['cut_low']:.2f}, {row['cut_high']:.2f}",
            "raw": f"{row['raw']:.2f}",
        }
        lines.append("| " + " | ".join("–" if cells[key] is None else str(cells[key]) for key, _ in shown) + " |")
    english = [row for row in rows if row["kind"] == "target" and row["set"] not in NOT_ENGLISH]
    other = [row for row in rows if row["set"] in NOT_ENGLISH]
    gaps = [row["raw_n50_n400"] for row in rows if row["raw_n50_n400"] is not None]
    last_english, first_other = max(english, key=lambda row: row["raw"]), min(other, key=lambda row: row["raw"])
    single = [row for row in rows if row["set"].startswith("article")]
    lines += [
        "",
        "- Single articles: " + ", ".join(f"{r['raw']:.2f} {r['verdict']}" for r in single) + ".",
        f"- Farthest English set: {last_english['set']} ({last_english['raw']:.2f}); nearest that is not English: "
        f"{first_other['set']} ({first_other['raw']:.2f}).",
        f"- Called dissimilar: {', '.join(row['set'] for row in rows if row['verdict'] == 'dissimilar')}.",
        f"- n = 50 against n = 400: mean distance of the raw value {np.mean(gaps):.3f} nats, at most {max(gaps):.3f}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
