"""Measure the similarity of the evidence table's text sets anew, after the shipped source profile has changed.

Rows are those that `evidence.py` drew, sampled as `recommend` samples them. Of results/evidence_profiles.csv only the
columns of similarity and situation are rewritten, set by set; nothing is trained, and what was advised stays.

Run: python benchmarks/evidence_similarity.py [--sets ...] [--rows ...]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from evidence import TEXT_MODEL, TEXT_SETS, Cell, draw_rows, number, read_set
from evidence_table import PROFILES

from advisor.advice.situation import NAMED_FROM
from advisor.data.options import DEFAULT_SAMPLE
from advisor.measures.features import sample_rows
from advisor.similarity.distance import unit_rows
from advisor.similarity.library import find_profile
from advisor.similarity.profile import SourceProfile
from advisor.similarity.similarity import SimilarityProfile, measure_similarity
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.records import write_text_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=TEXT_SETS, choices=TEXT_SETS)
    parser.add_argument("--rows", nargs="+", type=int, default=(100, 300, 1_000, 10_000))
    arguments = parser.parse_args()
    backbone = load_backbone()
    profile = find_profile(None, backbone=backbone)
    assert isinstance(profile, SourceProfile)
    for name in arguments.sets:
        # Text, so that cells which are not measured anew keep their digits.
        table = pd.read_csv(PROFILES, dtype=str, keep_default_na=False)
        cells = table[(table.model == TEXT_MODEL) & (table.set == name) & table.n.astype(int).isin(arguments.rows)]
        before = cells.similarity_score.astype(float).mean()
        for index, values in measure(cells, backbone=backbone, profile=profile).items():
            table.loc[index, list(values)] = ["" if value is None else str(value) for value in values.values()]
        write_text_atomically(PROFILES, table.to_csv(index=False, lineterminator="\n"))
        after = table.loc[cells.index]
        scores = after.similarity_score.astype(float)
        print(f"{name:<22} {before:.2f} -> {scores.mean():.2f}  {', '.join(sorted(set(after.similarity)))}", flush=True)


def measure(cells: pd.DataFrame, *, backbone: Backbone, profile: SourceProfile) -> dict[int, dict[str, object]]:
    """New values by row of the table; every text of the cells is embedded once."""
    drawn: dict[int, np.ndarray] = {}
    texts, labels, _, _ = read_set(cells.set.iloc[0])
    for index, cell in cells.iterrows():
        key = Cell(model=cell.model, set=cell.set, n=int(cell.n), seed=int(cell.seed))
        rows, _ = draw_rows(key)
        drawn[index] = rows[sample_rows(labels[rows], size=DEFAULT_SAMPLE, seed=key.seed)]
    union = np.unique(np.concatenate(list(drawn.values())))
    encoded = backbone.encode([texts[row] for row in union])
    features = backbone.block_features(encoded)
    kept = {block: unit_rows(features[block]) for block in profile.blocks}
    lengths = np.asarray(encoded.lengths)
    found: dict[int, dict[str, object]] = {}
    for index, rows in drawn.items():
        at = np.searchsorted(union, rows)
        measured = measure_similarity(
            [kept[block][at] if block in kept else np.empty((len(at), 0)) for block in range(backbone.n_blocks)],
            lengths=lengths[at],
            texts=[texts[row] for row in rows],
            profile=profile,
            how_to_measure="",
            seed=int(cells.seed[index]),
        )
        found[index] = columns(measured, p_large=float(cells.p_large[index]))
    return found


def columns(measured: SimilarityProfile, *, p_large: float) -> dict[str, object]:
    """The columns that depend on similarity, as `evidence.py` writes them."""
    assert measured.p_similar is not None
    assert measured.interval is not None
    similar = measured.p_similar
    joint = (p_large * (1 - similar), p_large * similar, (1 - p_large) * (1 - similar), (1 - p_large) * similar)
    likeliest = int(np.argmax(joint))
    return {
        "similarity": measured.verdict,
        "similarity_score": number(measured.score),
        "similarity_low": number(measured.interval[0]),
        "similarity_high": number(measured.interval[1]),
        "p_similar": number(similar),
        "situation": likeliest + 1 if joint[likeliest] >= NAMED_FROM else None,
        **{f"p_{place + 1}": number(value) for place, value in enumerate(joint)},
    }


if __name__ == "__main__":
    main()
