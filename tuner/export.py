"""Save and load the winner: weights, tokenizer, label names, model card, and the support of its training data.

Importing this module registers the model class with transformers' Auto classes; nothing else does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedTokenizerBase,
)

from tuner import memory
from tuner.errors import MissingFileError, ModelError
from tuner.inputs.base import NativeHead
from tuner.inputs.encoded import Encoded
from tuner.inputs.given import Form, rows_to_read
from tuner.inputs.known import INPUTS, input_of_folder, input_of_reader
from tuner.inputs.pairs import are_pairs
from tuner.model.assemble import load_backbone, resolve_device
from tuner.model.backbone import Backbone
from tuner.model.checkpoint import check_files, check_folder, read_json, view_of, weight_files
from tuner.model.classifier import MODEL_TYPE, TransferClassifier, TransferConfig, classify
from tuner.model.loading import LOADING_ERRORS, check_size, load_reader, own_files_only
from tuner.model.native import save_native
from tuner.names import metric_name
from tuner.records import Progress, write_text_atomically
from tuner.sealed import check_sealed_folder, seal_folder
from tuner.tasks.base import Task
from tuner.tasks.known import task_of_config
from tuner.tasks.quality import calibration_sentence, class_table, other_metrics

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedModel

AutoConfig.register(MODEL_TYPE, TransferConfig, exist_ok=True)
AutoModelForSequenceClassification.register(TransferConfig, TransferClassifier, exist_ok=True)
AutoModelForImageClassification.register(TransferConfig, TransferClassifier, exist_ok=True)
AutoModelForTokenClassification.register(TransferConfig, TransferClassifier, exist_ok=True)

SUPPORT_ROWS = 1_000
SUPPORT_NEIGHBOURS = 5
SUPPORT_LEVEL = 0.95
SUPPORT_FILE = "support.safetensors"
ADVICE_FILE = "advice.json"
REGISTERS = "import tuner.export  # registers the architecture; no remote code\n"
ROWS_AT_ONCE = 4096
CALIBRATED = """(Expected calibration error: 15 bins of equal width, Guo et al. 2017. No prediction is changed by it.)
"""
WITH_PIPELINE = """from transformers import pipeline

classify = pipeline("{task}", "path/to/this/folder")
"""
WITH_WORDS = """from tuner.export import TransferModel

model = TransferModel.from_pretrained("path/to/this/folder")
tags = model.predict([["EU", "rejects", "lamb", "."]])
"""
OF_WHOLE_WORDS = """
The model reads whole words, which transformers' own token classification does not find; `advisor predict` does, too.
"""


@dataclass(frozen=True, kw_only=True)
class Support:
    """Where the training data lies: normalised features (n, d) of some training rows, and the radius around them.

    A row is unlike the training data when its fifth nearest training row is farther (cosine distance) than 95 % of
    the training rows are from theirs (Sun et al. 2022, out-of-distribution detection with deep nearest neighbours).
    """

    features: np.ndarray
    radius: float

    def unlike(self, features: np.ndarray) -> np.ndarray:
        """Say which rows of (n, d) features are unlike the training data, as (n,) booleans."""
        if len(self.features) < SUPPORT_NEIGHBOURS:
            return np.zeros(len(features), dtype=bool)
        found = np.empty(len(features), dtype=bool)
        for start in range(0, len(features), ROWS_AT_ONCE):
            distances = 1 - normalised(features[start : start + ROWS_AT_ONCE]) @ self.features.T
            kth = np.partition(distances, SUPPORT_NEIGHBOURS - 1, axis=1)[:, SUPPORT_NEIGHBOURS - 1]
            found[start : start + ROWS_AT_ONCE] = kth > self.radius
        return found


def normalised(features: np.ndarray) -> np.ndarray:
    """Scale the rows of features to unit length."""
    rows: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return rows.astype(np.float32)


def measure_support(features: np.ndarray) -> Support:
    """The support of (n, d) training features; the radius is measured with each row left out of its own neighbours.

    >>> support = measure_support(np.random.default_rng(0).normal(1, 0.1, size=(50, 3)))
    >>> support.unlike(np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 0.0]])).tolist()
    [False, True]
    """
    rows = normalised(features)
    if len(rows) <= SUPPORT_NEIGHBOURS:
        return Support(features=rows, radius=2.0)
    distances = 1 - rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    kth = np.partition(distances, SUPPORT_NEIGHBOURS - 1, axis=1)[:, SUPPORT_NEIGHBOURS - 1]
    return Support(features=rows, radius=float(np.quantile(kth, SUPPORT_LEVEL)))


class TransferModel:
    """A saved winner with its tokenizer or image processor: texts or images in, labels out; sentences in, tags out.

    Args:
        classifier: the tuned model, which is put into evaluation mode.
        reader: its tokenizer or image processor.
        support: where its training data lies.
        card: the README of its folder, as Markdown.
        pairs: whether it was tuned on pairs of texts; None where that is not known.
    """

    def __init__(
        self,
        *,
        classifier: PreTrainedModel,
        reader: PreTrainedTokenizerBase | BaseImageProcessor,
        support: Support,
        card: str,
        pairs: bool | None = None,
    ) -> None:
        self.classifier = classifier.eval()
        self.reader = reader
        self.support = support
        self.card = card
        self.pairs = pairs
        """Whether it was tuned on pairs of texts; None where that is not known."""
        self.task = task_of_config(classifier.config)
        """The task, which says what it predicts."""
        self.input = input_of_reader(reader) or INPUTS[-1]
        """The input, which says what it reads."""
        self._backbone: Backbone | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Labels in the order of the probabilities."""
        return self.task.names

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        """Predict every text or image; of every sentence of words the list of its words' tags."""
        rows = self._rows(rows)
        return self.task.told(self.task.decode(self.run(rows)[0]), rows)

    def tell(
        self, rows: Sequence[Any], *, progress: Progress | None = None
    ) -> tuple[list[Any], np.ndarray, np.ndarray]:
        """Predict rows that are labelled as a whole, with their probabilities and which are unlike the training data.

        From one pass, it returns what `predict` and `predict_with_support` say.
        """
        rows = self._rows(rows)
        logits, features = self.run(rows, progress=progress)
        told = self.task.told(self.task.decode(logits), rows)
        return told, self.task.probabilities(logits), self.support.unlike(features)

    def predict_proba(self, rows: Sequence[Any]) -> np.ndarray:
        """Probabilities (n, C) in the order of `class_names`; of sentences of words (N, C), sentence below sentence.

        A word that the model does not see has the same probability of every tag.
        """
        return self.predict_with_support(rows)[0]

    def unlike_training(self, rows: Sequence[Any]) -> np.ndarray:
        """Say which rows lie outside the training data's support, as (n,) booleans."""
        return self.predict_with_support(rows)[1]

    def predict_with_support(
        self, rows: Sequence[Any], *, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities as `predict_proba`, and from the same pass which rows are unlike the training data (n,)."""
        return self.predict_encoded(self.encode(rows, progress=progress), progress=progress)

    def predict_encoded(self, encoded: Encoded, *, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Predict rows that `encode` has read, as `predict_with_support` does."""
        logits, features = classify(self.classifier, backbone=self._read_by, encoded=encoded, progress=progress)
        return self.task.probabilities(logits), self.support.unlike(features)

    def run(self, rows: Sequence[Any], *, progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Compute the logits (n, C) and the features (n, d) that the last linear layer read.

        One text or image counts as a list; of pairs, `rows` are (text, text); of sentences, lists of words. Raises
        `DataError` for rows of another kind than the model was tuned on.
        """
        encoded = self.encode(rows, progress=progress)
        return classify(self.classifier, backbone=self._read_by, encoded=encoded, progress=progress)

    def encode(self, rows: Sequence[Any], *, progress: Progress | None = None) -> Encoded:
        """Read rows as the model is fed them; of sentences it says which words are seen. Raises as `run` does."""
        rows = self._rows(rows)
        return self._read_by.encode(self._form.checked(rows, self.pairs), progress=progress)

    def _rows(self, rows: Any) -> Any:
        """The rows as a list, out of whatever holds them."""
        return rows_to_read(rows, form=self._form, pairs=bool(self.pairs))

    @property
    def _form(self) -> Form:
        """What a row is."""
        return self.task.form(self.input.form)

    @property
    def _read_by(self) -> Backbone:
        """The classifier's base with its tokenizer or image processor."""
        if self._backbone is None:
            pair = (self.classifier.base_model, self.reader)
            length = getattr(self.reader, "model_max_length", None)
            loaded = load_backbone(pair, device=str(self.classifier.device), max_length=length)
            pooling = getattr(self.classifier.config, "pooling", loaded.pooling)
            self._backbone = replace(loaded, pooling=self.task.pooling(pooling))
        return self._backbone

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config, weights, tokenizer or image processor, card and support into a folder."""
        from safetensors.numpy import save_file

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        if isinstance(self.classifier, TransferClassifier):
            self.classifier.save_pretrained(path)
        else:
            save_native(self.classifier, path)
        _save_reader(self.reader, path)
        save_file(
            {
                "features": self.support.features.astype(np.float16),
                "radius": np.asarray([self.support.radius], dtype=np.float32),
            },
            path / SUPPORT_FILE,
        )
        write_text_atomically(path / "README.md", self.card)
        seal_folder(path)
        for file in path.glob("*.safetensors"):  # safetensors writes private files; results are as readable as any
            file.chmod((path / "README.md").stat().st_mode & 0o777)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str = "auto", module: torch.nn.Module | None = None
    ) -> TransferModel:
        """Load what `save_pretrained` wrote. Raises `MissingFileError` or `ModelError` for anything else.

        A model that was tuned from a module of your own needs such a `module`, which is filled with the tuned weights.
        """
        path, name = Path(folder), str(folder)
        check_files(path, name)
        check_sealed_folder(path)
        if not (path / "config.json").is_file():
            raise MissingFileError(
                f"{path} holds no saved model",
                why="predictions come from the model that a run saved",
                fix="pass a run folder that advisor tune finished, or its model folder",
            )
        check_folder(path, name)
        config = read_json(path / "config.json", path, name)
        if not (path / SUPPORT_FILE).exists():
            raise ModelError(
                f"{path} holds a model of type {config.get('model_type')!r}, not one saved by advisor tune",
                why="its head and its labels are not ours",
                fix="pass a run folder, or use transformers.pipeline with this model",
            )
        kind = input_of_folder(path) or INPUTS[-1]
        try:
            stored = memory.check_memory(weight_files(path, name), name)
            options = {"use_safetensors": True, "dtype": torch.float32, "local_files_only": True}
            with view_of(path, name) as view, own_files_only(name):
                if module is not None:
                    classifier = TransferClassifier.from_pretrained(view, module=module, **options)
                else:
                    loaded = AutoConfig.from_pretrained(view, trust_remote_code=False, local_files_only=True)
                    auto = task_of_config(loaded).head(kind.head).auto_class
                    check_size(auto, loaded, stored=stored, name=name)
                    classifier = auto.from_pretrained(view, trust_remote_code=False, **options)
            classifier.config._name_or_path = classifier.name_or_path = name
            reader = load_reader(path, name, kind)
            support = _read_support(path / SUPPORT_FILE)
            pairs = None
            if (path / ADVICE_FILE).exists():
                advice = read_json(path / ADVICE_FILE, path, name)
                pairs = are_pairs(advice["data"]["columns"])
        except ModelError:
            raise
        except LOADING_ERRORS as error:
            first_line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ModelError(
                f"the model in {path} cannot be loaded", why=first_line[:300], fix="run advisor tune again"
            ) from error
        card = (path / "README.md").read_text(encoding="utf-8") if (path / "README.md").exists() else ""
        classifier = classifier.to(resolve_device(device))
        return cls(classifier=classifier, reader=reader, support=support, card=card, pairs=pairs)


def _save_reader(reader: PreTrainedTokenizerBase | BaseImageProcessor, path: Path) -> None:
    """Save a tokenizer or image processor. Raises `OSError` where that cannot be written."""
    try:
        reader.save_pretrained(path)
    except Exception as error:
        # What the system answers, tokenizers raises as an Exception of no kind, with the number in its text.
        refused = re.search(r"\(os error (\d+)\)$", str(error)) if type(error) is Exception else None
        if refused is None:
            raise
        raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(path)) from error


def _read_support(file: Path) -> Support:
    from safetensors.numpy import load_file

    stored = load_file(file)
    features, radius = stored["features"].astype(np.float32), stored["radius"]
    if features.ndim != 2 or radius.shape != (1,):
        raise ValueError(f"{file.name} holds features of shape {features.shape} and a radius of shape {radius.shape}")
    return Support(features=features, radius=float(radius[0]))


def model_card(
    *, base: str, data: str, metric: str, score: float, interval: tuple[float, float], candidate: str,
    recipe: Mapping[str, Any], task: Task, head: NativeHead, n_train: int, n_test: int, times_tested: int = 1,
    native: bool = False, whole_words: bool = False,
    metrics: Mapping[str, Any] | None = None, by_class: Sequence[Mapping[str, Any]] = (),
    calibration: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """Write the README of the model folder, with the metadata that hubs and pipelines read.

    Args:
        base: id or path of the pretrained model.
        data: name of the dataset.
        metric: that the model was chosen by.
        score: on the test split, under that metric.
        interval: 95 % interval of the score.
        candidate: what was trained, in words.
        recipe: settings that it was trained with, of which numbers are shown.
        task: of the saved model (`tuner.tasks.base.Task.as_saved`).
        head: the kind of classifier that transformers has for it.
        n_train: rows that it was trained on.
        n_test: rows of the test split.
        times_tested: how many times the test split was scored, each time for another winner.
        native: whether plain transformers knows the architecture, so that nothing has to be imported first.
        whole_words: whether the model reads whole words, and is shown without a pipeline, which could not feed it.
        metrics: test scores by metric, as in ``tuning.json``.
        by_class: test scores by class, as in ``tuning.json``.
        calibration: of the probabilities, as in ``tuning.json``; None for a task without any.
    """
    import yaml

    named = task.published(metric)
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": head.pipeline,
        "tags": ["transfer-advisor", head.pipeline],
        "metrics": [named],
        "model-index": [
            {
                "name": "transfer-advisor winner",
                "results": [
                    {
                        "task": {"type": head.pipeline},
                        "dataset": {"name": data, "type": "local"},
                        "metrics": [{"type": named, "value": round(score, 4)}],
                    }
                ],
            }
        ],
    }
    if "/" in base and not base.startswith(("/", ".")):
        metadata["base_model"] = base
    shown = ("" if native else REGISTERS) + WITH_PIPELINE.format(task=head.pipeline)
    notes = task.card_notes
    if whole_words:
        shown, notes = WITH_WORDS, OF_WHOLE_WORDS
    rows = "\n".join(f"| {key} | {value:.3g} |" for key, value in recipe.items() if isinstance(value, (int, float)))
    quality = ""
    if beside := other_metrics(metrics or {}, metric=metric):
        quality += f"\nOn the same rows: {beside}.\n"
    if calibration is not None:
        quality += f"\nProbabilities: {calibration_sentence(calibration)}.\n{CALIBRATED}"
    if by_class:
        quality += f"\n{class_table(by_class)}\n"
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip()}
---

# {base}, {candidate}

{task.described(head)}, tuned from `{base}` on
{n_train:,} rows.

Test {metric_name(metric)}: {score:.3f}, 95 % interval {interval[0]:.3f} to {interval[1]:.3f}, on {n_test:,} rows
that were scored {"once" if times_tested == 1 else f"{times_tested} times, each by another winner"}.
{quality}
```python
{shown}```
{notes}
`advisor predict` also says which rows are unlike the training data: `{SUPPORT_FILE}` holds features of training rows
(numbers only) for that. `{ADVICE_FILE}` is the recommendation that the search started from.

| setting | value |
|---|---|
{rows}
"""
