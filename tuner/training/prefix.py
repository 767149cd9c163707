"""The frozen prefix's outputs, computed once per depth, kept on disk in 16 bit, and replayed into the model."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.blocks import encoder_end
from tuner.inputs.encoded import Encoded
from tuner.model.backbone import Backbone, Features
from tuner.model.hidden import Layout
from tuner.records import Progress, folder_error, write_bytes_atomically, write_json

FORMAT = 2
"""Version of the format of files and marks; other ones are never read back."""


@dataclass(frozen=True, kw_only=True)
class CachedDepth:
    """The states that leave block ``depth - 1`` for every row, one after the other, as a file holds them.

    Of a text that is one state (``shape``) a token; of an image one in all. ``layouts`` say what the units return
    (`tuner.model.hidden.layout_of`). ``memory`` is what left the encoder, where the prefix reaches into the decoder.
    """

    depth: int
    path: Path
    starts: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, ...]
    dtype: torch.dtype
    per_token: bool
    layouts: tuple[tuple[Layout, ...], ...]
    memory: CachedDepth | None = None

    def batch(self, rows: Sequence[int] | np.ndarray, *, padded: int, device: torch.device) -> torch.Tensor:
        """The states of some rows as float32: (b, padded, width) of texts, (b, *shape) of images.

        Padding is zero and masked anyway.
        """
        stored = np.memmap(self.path, dtype=np.uint16, mode="r", shape=(int(self.lengths.sum()), *self.shape))
        if self.per_token:
            states = np.zeros((len(rows), padded, *self.shape), dtype=np.uint16)
            for position, row in enumerate(rows):
                start, length = int(self.starts[row]), int(self.lengths[row])
                states[position, :length] = stored[start : start + length]
        else:
            states = stored[np.asarray(rows)]
        left = torch.from_numpy(states).view(self.dtype).to(device)
        if left.ndim == 4:  # images are computed with the channels last
            left = left.contiguous(memory_format=torch.channels_last)
        return left.float()


@dataclass(frozen=True, kw_only=True)
class JoinedDepth:
    """The states that leave a block for the rows of one cache and, below them, for those of another."""

    upper: CachedDepth
    lower: CachedDepth

    @property
    def depth(self) -> int:
        """The number of blocks before."""
        return self.upper.depth

    @property
    def dtype(self) -> torch.dtype:
        """The type that states are kept in; where the two caches differ, the coarser one."""
        return self.upper.dtype if self.upper.dtype == torch.bfloat16 else self.lower.dtype

    @property
    def layouts(self) -> tuple[tuple[Layout, ...], ...]:
        """What the units return, as `CachedDepth` has it."""
        return self.upper.layouts

    @property
    def memory(self) -> JoinedDepth | None:
        """The states that left the encoder, where the prefix reaches into the decoder; else None."""
        if self.upper.memory is None or self.lower.memory is None:
            return None
        return JoinedDepth(upper=self.upper.memory, lower=self.lower.memory)

    def batch(self, rows: Sequence[int] | np.ndarray, *, padded: int, device: torch.device) -> torch.Tensor:
        """The states of some rows of both caches as float32, shaped as those of `CachedDepth.batch`."""
        asked, n = np.asarray(rows), len(self.upper.lengths)
        above = asked < n
        parts = [
            part.batch(some, padded=padded, device=device)
            for part, some in ((self.upper, asked[above]), (self.lower, asked[~above] - n))
        ]
        # Back into the order that was asked for.
        order = np.argsort(np.concatenate([np.flatnonzero(above), np.flatnonzero(~above)]))
        return torch.cat(parts)[torch.from_numpy(order).to(device)]


class JoinedCache:
    """Two caches as one, of the rows of the first and below them those of the second. It computes nothing."""

    def __init__(self, upper: PrefixCache, lower: PrefixCache) -> None:
        self.upper, self.lower = upper, lower
        self.folder = upper.folder

    def get(self, depth: int) -> JoinedDepth:
        """A depth that both hold; `KeyError` for one that they do not."""
        return JoinedDepth(upper=self.upper.get(depth), lower=self.lower.get(depth))


class PrefixCache:
    """Cached prefixes of some rows in one folder; depths are added as they are needed, several in one pass.

    States are kept in 16 bits: as they are where they are bf16, else as float16, whose rounding is an eighth of bf16's;
    where one is too large for that, the depth is computed again and kept as bf16.

    Files are keyed by weights, token ids and depth, so a cache can only be read back by the same model and data. They
    appear whole, with their hash beside them: one that is missing, unfinished or damaged is computed again.
    """

    def __init__(self, folder: Path, *, backbone: Backbone, encoded: Encoded) -> None:
        self.folder = folder
        self.backbone = backbone
        self.encoded = encoded
        self.starts = np.concatenate([[0], np.cumsum(encoded.lengths)[:-1]])
        made_with = (
            FORMAT,
            backbone.fingerprint,
            backbone.architecture,
            backbone.compute_dtype,
            backbone.inputs.settings,
            encoded.digest(),
        )
        self.key = hashlib.sha256(repr(made_with).encode()).hexdigest()[:24]
        self._encoder_end = encoder_end(backbone.blocks)
        self.row_seconds: float | None = None
        """Seconds of passing a row through the model, in the last pass without its slowest batch; None before any."""
        self._marks: dict[int, dict[str, Any]] = {}
        self._dtypes: dict[int, torch.dtype] = {}

    def bytes_at(self, depth: int) -> int:
        """Size of a depth's file."""
        return int(self.encoded.lengths.sum()) * math.prod(self.backbone.shapes[depth - 1]) * 2

    def files_of(self, depth: int) -> tuple[int, ...]:
        """The depths whose files a depth is replayed from: its own, and the encoder's where it lies in the decoder."""
        end = self._encoder_end
        return (depth,) if end is None or depth <= end + 1 else (end + 1, depth)

    def _path(self, depth: int) -> Path:
        return self.folder / f"{self.key}-{depth}.bits"

    def has(self, depth: int) -> bool:
        """Whether a depth is there, whole and undamaged; its content is read once to see that."""
        return all(self._has(file) for file in self.files_of(depth))

    def _has(self, depth: int) -> bool:
        if depth in self._marks:
            return True
        mark = _read_mark(self._path(depth), size=self.bytes_at(depth))
        if mark is not None:
            self._marks[depth] = mark
        return mark is not None

    def get(self, depth: int) -> CachedDepth:
        """A depth that was computed before; `KeyError` for one that was not."""
        files = self.files_of(depth)
        return CachedDepth(
            depth=depth,
            path=self._path(depth),
            starts=self.starts,
            lengths=self.encoded.lengths,
            shape=self.backbone.shapes[depth - 1],
            dtype=getattr(torch, self._marks[depth]["dtype"]),
            per_token=self.backbone.inputs.per_token,
            layouts=tuple(tuple(map(tuple, block)) for block in self._marks[depth]["layouts"]),
            memory=self.get(files[0]) if len(files) > 1 else None,
        )

    def compute(self, depths: Sequence[int], *, progress: Progress | None = None) -> Features:
        """Store the missing depths in one forward pass, and return the pooled features of every block.

        The features are those of `Backbone.block_features`, whose pass this saves.
        """
        backbone = self.backbone
        features_path = self.folder / f"{self.key}-features.npz"
        wanted = {file for depth in depths if 0 < depth < backbone.n_blocks for file in self.files_of(depth)}
        missing = sorted(depth for depth in wanted if not self._has(depth))
        if not missing and _read_mark(features_path) is not None:
            with np.load(features_path) as stored:
                return tuple(stored[f"arr_{block}"] for block in range(backbone.n_blocks))
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = {depth: self._path(depth).with_suffix(f".{os.getpid()}.part") for depth in missing}
        try:
            return self._compute(parts, features_path=features_path, progress=progress)
        finally:
            for part in parts.values():  # of a pass that was cut short
                part.unlink(missing_ok=True)

    def _compute(self, parts: Mapping[int, Path], *, features_path: Path, progress: Progress | None) -> Features:
        backbone, encoded = self.backbone, self.encoded
        total = int(encoded.lengths.sum())
        files = {}
        for depth, part in parts.items():
            _allocate(part, self.bytes_at(depth))
            files[depth] = np.memmap(part, dtype=np.uint16, mode="r+", shape=(total, *backbone.shapes[depth - 1]))
        layouts: list[list[Layout]] = []
        too_large: set[int] = set()
        features = backbone.empty_features(encoded)
        done, took, since = 0, [], time.perf_counter()
        for rows in backbone.batches(encoded):
            inputs = backbone.collate(encoded, rows)
            with torch.inference_mode(), backbone.autocast():
                hidden = backbone.states(inputs)
            states, layouts = hidden.states, hidden.layouts
            mask = inputs.get("attention_mask")
            backbone.pool_into(features, states=states, encoded=encoded, rows=rows, mask=mask)
            for depth, file in files.items():
                state = states[depth - 1]
                dtype = self._dtypes.setdefault(depth, state.dtype if state.dtype == torch.bfloat16 else torch.float16)
                stored_state = state.to(dtype).contiguous()
                if not bool(stored_state.isfinite().all()):
                    too_large.add(depth)
                bits = stored_state.view(torch.uint16).cpu().numpy()
                if not backbone.inputs.per_token:
                    file[rows] = bits
                    continue
                for position, row in enumerate(rows):
                    start, length = int(self.starts[row]), int(encoded.lengths[row])
                    file[start : start + length] = bits[position, :length]
            done += len(rows)
            now = time.perf_counter()
            took.append((now - since, len(rows)))
            since = now
            if progress is not None:
                progress(f"computing the frozen blocks once: {done:,} of {len(encoded):,} rows", done / len(encoded))
        # The slowest batch builds what the others use again.
        usual = sorted(took, key=lambda batch: batch[0] / batch[1])[: max(len(took) - 1, 1)]
        self.row_seconds = sum(s for s, _ in usual) / sum(n for _, n in usual) if usual else None
        for depth, file in files.items():
            if depth in too_large:
                continue
            file.flush()
            # Another process may read or write the same depth: a file appears whole, and its mark after it.
            mark = {
                "depth": depth,
                "dtype": str(self._dtypes[depth]).removeprefix("torch."),
                "layouts": layouts,
                "sha256": _sha256(parts[depth]),
            }
            parts[depth].replace(self._path(depth))
            _write_mark(self._path(depth), mark)
            self._marks[depth] = mark
        buffer = io.BytesIO()
        np.savez(buffer, *features)
        write_bytes_atomically(features_path, buffer.getvalue())
        _write_mark(features_path, {"sha256": _sha256(features_path)})
        if wider := [depth for depth in too_large if self._dtypes[depth] == torch.float16]:
            self._dtypes |= dict.fromkeys(wider, torch.bfloat16)
            return self.compute(wider, progress=progress)
        return features


def _write_mark(path: Path, mark: dict[str, Any]) -> None:
    """What a file beside it must be, with a hash of that itself."""
    write_json(_mark_path(path), mark | {"mark": _hash_of(mark)})


def _read_mark(path: Path, *, size: int | None = None) -> dict[str, Any] | None:
    """The mark of a file that is whole and undamaged; None where file or mark are not."""
    if not path.is_file() or not _mark_path(path).is_file():
        return None
    try:
        mark = dict(json.loads(_mark_path(path).read_bytes()))
        told = mark.pop("mark")
        whole = told == _hash_of(mark) and size in (None, path.stat().st_size) and mark["sha256"] == _sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return mark if whole else None


def _mark_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _hash_of(mark: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()


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
