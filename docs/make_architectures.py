"""Writes docs/architectures.md: the blocks of every architecture that transformers lists for classification.

Run: python docs/make_architectures.py   (a minute; every model is built from its default configuration on torch's meta
device, which holds no weights)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from tuner.blocks import find_blocks, head_parameters
from tuner.errors import ModelError
from tuner.records import write_text_atomically

MAPPINGS = {
    "sequence": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "token": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "image": modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
}

LACKING: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 48},
    "timm_wrapper": {"architecture": "resnet18"},
}
"""Fields without which the default configuration builds no model."""

TITLE = f"""# Architectures

The blocks that `tuner.blocks.find_blocks` finds in every architecture of transformers {transformers.__version__}'s
sequence-, token- and image-classification mappings, built from its default configuration. Block 0 is the stem; the
number counts it. Blocks and head together hold every parameter exactly once. Written by `docs/make_architectures.py`.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One architecture: its blocks, or why there are none."""

    model_type: str
    tasks: tuple[str, ...]
    n_blocks: int | None
    stem: str = ""
    first: str = ""
    last: str = ""
    head: float | None = None
    note: str = ""


def architectures() -> dict[str, dict[str, str]]:
    """Model type to the class of every task."""
    found: dict[str, dict[str, str]] = {}
    for task, mapping in MAPPINGS.items():
        for model_type, name in mapping.items():
            found.setdefault(model_type, {})[task] = name if isinstance(name, str) else name[0]
    return dict(sorted(found.items()))


def describe(model_type: str) -> list[Row]:
    """Build an architecture without weights for every task: a row for each that has blocks of its own."""
    rows: list[Row] = []
    for task, class_name in architectures()[model_type].items():
        row = _row(model_type, task=task, class_name=class_name)
        same = [other for other in rows if replace(other, tasks=(), head=None) == replace(row, tasks=(), head=None)]
        if same:
            rows[rows.index(same[0])] = replace(same[0], tasks=(*same[0].tasks, task))
        else:
            rows.append(row)
    return rows


def _row(model_type: str, *, task: str, class_name: str) -> Row:
    try:
        config = CONFIG_MAPPING[model_type](**LACKING.get(model_type, {}))
        with torch.device("meta"):
            model = getattr(transformers, class_name)._from_config(config)
        blocks = find_blocks(model)
    except ImportError as error:
        reason = next(line for line in str(error).splitlines() if line.strip()).strip().partition(" but ")[0]
        return Row(model_type=model_type, tasks=(task,), n_blocks=None, note=f"not built: {reason.partition(' ')[2]}")
    except ModelError as error:
        return Row(model_type=model_type, tasks=(task,), n_blocks=None, note=f"refused: {error.what.partition(' ')[2]}")
    total = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in head_parameters(model, blocks))
    held = sum(parameter.numel() for block in blocks for parameter in block.parameters())
    if head + held != total:
        raise AssertionError(f"{class_name}: {total - head - held} parameters are in no block and not in the head")
    return Row(
        model_type=model_type,
        tasks=(task,),
        n_blocks=len(blocks),
        stem=blocks[0].name,
        first=blocks[1].name,
        last=blocks[-1].name,
        head=head / total,
        note=next((block.shared for block in blocks if block.shared is not None), ""),
    )


def table(rows: list[Row]) -> Iterator[str]:
    """The page, line by line."""
    found = [row for row in rows if row.n_blocks is not None]
    missing = [row for row in rows if row.n_blocks is None]
    yield TITLE
    known, all_types = {row.model_type for row in found}, {row.model_type for row in rows}
    yield f"{len(known)} of {len(all_types)} architectures have blocks.\n"
    yield "| model type | tasks | blocks | stem | first | last | head's share | |"
    yield "|---|---|---:|---|---|---|---:|---|"
    for row in found:
        cells = (row.model_type, ", ".join(row.tasks), str(row.n_blocks), f"`{row.stem}`", f"`{row.first}`",
                 f"`{row.last}`", f"{row.head:.1%}", row.note)  # fmt: skip
        yield "| " + " | ".join(cells) + " |"
    yield "\n## Without blocks\n"
    yield "| model type | tasks | why |"
    yield "|---|---|---|"
    for row in missing:
        yield f"| {row.model_type} | {', '.join(row.tasks)} | {row.note} |"


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    rows = [row for model_type in architectures() for row in describe(model_type)]
    write_text_atomically(Path(__file__).with_name("architectures.md"), "\n".join(table(rows)) + "\n")


if __name__ == "__main__":
    main()
