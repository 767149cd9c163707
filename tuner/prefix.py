"""The frozen prefix's outputs, computed once per depth, kept on disk in 16 bit, and replayed into the model."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.backbone import Backbone, Encoded, pool
from tuner.hidden import HiddenStates
from tuner.records import Progress, folder_error, write_bytes_atomically, write_json


@dataclass(frozen=True, kw_only=True)
class CachedDepth:
    """Hidden states after block ``depth - 1`` of every token of every row, one after the other, (tokens, width).

    ``layouts`` say what the units return (`tuner.hidden.layout_of`).
    """

    depth: int
    path: Path
    starts: np.ndarray
    lengths: np.ndarray
    width: int
    layouts: tuple[int, ...]

    def batch(self, rows: Sequence[int] | np.ndarray, *, padded: int, device: torch.device) -> torch.Tensor:
        """(b, padded, width) float32 hidden states; padding is zero and masked anyway."""
        stored = np.memmap(self.path, dtype=np.uint16, mode="r", shape=(int(self.lengths.sum()), self.width))
        hidden = np.zeros((len(rows), padded, self.width), dtype=np.uint16)
        for position, row in enumerate(rows):
            start, length = int(self.starts[row]), int(self.lengths[row])
            hidden[position, :length] = stored[start : start + length]
        return torch.from_numpy(hidden).view(torch.bfloat16).to(device).float()


class PrefixCache:
    """Cached prefixes of some rows in one folder; depths are added as they are needed, several in one pass.

    Files are keyed by weights, token ids and depth, so a cache can only be read back by the same model and data. They
    appear whole, with their hash beside them: one that is missing, unfinished or damaged is computed again.
    """

    def __init__(self, folder: Path, *, backbone: Backbone, encoded: Encoded) -> None:
        self.folder = folder
        self.backbone = backbone
        self.encoded = encoded
        self.starts = np.concatenate([[0], np.cumsum(encoded.lengths)[:-1]])
        digest = hashlib.sha256(f"{backbone.fingerprint} {backbone.compute_dtype} {backbone.max_length}".encode())
        for ids in encoded.input_ids:
            digest.update(ids.tobytes())
        self.key = digest.hexdigest()[:24]
        self._marks: dict[int, dict[str, Any]] = {}

    @property
    def bytes_per_depth(self) -> int:
        """Size of one depth's file."""
        return int(self.encoded.lengths.sum()) * self.backbone.width * 2

    def _path(self, depth: int) -> Path:
        return self.folder / f"{self.key}-{depth}.bf16"

    def has(self, depth: int) -> bool:
        """Whether a depth is there, whole and undamaged; its content is read once to see that."""
        if depth in self._marks:
            return True
        path = self._path(depth)
        try:
            mark = json.loads(path.with_suffix(".json").read_bytes())
            whole = path.stat().st_size == self.bytes_per_depth and mark["sha256"] == _sha256(path)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if whole:
            self._marks[depth] = mark
        return whole

    def get(self, depth: int) -> CachedDepth:
        """A depth that was computed before; `KeyError` for one that was not."""
        return CachedDepth(
            depth=depth,
            path=self._path(depth),
            starts=self.starts,
            lengths=self.encoded.lengths,
            width=self.backbone.width,
            layouts=tuple(self._marks[depth]["layouts"]),
        )

    def compute(self, depths: Sequence[int], *, progress: Progress | None = None) -> np.ndarray:
        """One forward pass: stores the missing depths, returns the pooled features of every block.

        Shape (n_blocks, n, width) float32, as `Backbone.block_features`, which this saves.
        """
        backbone, encoded = self.backbone, self.encoded
        features_path = self.folder / f"{self.key}-features.npy"
        missing = sorted({depth for depth in depths if 0 < depth < backbone.n_blocks and not self.has(depth)})
        if not missing and features_path.exists():
            stored: np.ndarray = np.load(features_path)
            return stored
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (int(encoded.lengths.sum()), backbone.width)
        parts = {depth: self._path(depth).with_suffix(f".{os.getpid()}.part") for depth in missing}
        for part in parts.values():
            _allocate(part, self.bytes_per_depth)
        files = {depth: np.memmap(part, dtype=np.uint16, mode="r+", shape=shape) for depth, part in parts.items()}
        layouts: list[int] = []
        features = np.empty((backbone.n_blocks, len(encoded), backbone.width), dtype=np.float32)
        done = 0
        for rows in backbone.batches(encoded):
            input_ids, mask = backbone.collate(encoded, rows)
            with torch.inference_mode(), backbone.autocast(), HiddenStates(backbone.blocks) as hidden:
                output = backbone.model(input_ids=input_ids, attention_mask=mask)
            states, layouts = [*hidden.states[:-1], output.last_hidden_state], hidden.layouts
            pooled = [pool(state.float(), mask, pooling=backbone.pooling) for state in states]
            features[:, rows] = torch.stack(pooled).cpu().numpy()
            for depth, file in files.items():
                bits = states[depth - 1].to(torch.bfloat16).view(torch.uint16).cpu().numpy()
                for position, row in enumerate(rows):
                    start, length = int(self.starts[row]), int(encoded.lengths[row])
                    file[start : start + length] = bits[position, :length]
            done += len(rows)
            if progress is not None:
                progress(f"computing the frozen blocks once: {done:,} of {len(encoded):,} rows", done / len(encoded))
        for depth, file in files.items():
            file.flush()
            # Another process may read or write the same depth: a file appears whole, and its mark after it.
            self._marks[depth] = {"depth": depth, "shape": shape, "layouts": layouts, "sha256": _sha256(parts[depth])}
            parts[depth].replace(self._path(depth))
            write_json(self._path(depth).with_suffix(".json"), self._marks[depth])
        buffer = io.BytesIO()
        np.save(buffer, features)
        write_bytes_atomically(features_path, buffer.getvalue())
        return features


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _allocate(path: Path, size: int) -> None:
    """Claim the bytes at once: a full disk is an error here, but would kill the process inside a memory map."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise folder_error(path, error) from error
