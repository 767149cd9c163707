"""An assessment in words, for the card of a saved model and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.names import IN_UNITS, metric_name

MOST_CLASSES = 50
"""Classes in a card's table; of more, those with the lowest recall."""


def number_with_interval(value: float, interval: Sequence[float] | None = None) -> str:
    """A score as text, with its interval where there is one.

    >>> number_with_interval(0.75, (0.7, 0.8))
    '0.750 [0.700, 0.800]'
    """
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def other_metrics(metrics: Mapping[str, Mapping[str, Any]], *, metric: str) -> str:
    """One line of text with the scores under all metrics but `metric`.

    >>> other_metrics({"accuracy": {"score": 0.9, "interval": (0.8, 0.95)},
    ...                "macro_f1": {"score": 0.5, "interval": (0.4, 0.6)}}, metric="accuracy")
    'macro F1 0.500 [0.400, 0.600]'
    >>> other_metrics({"mae": {"score": 1234.567, "interval": (1100.0, 1300.0)}}, metric="r2")
    'mean absolute error 1235 [1100, 1300]'
    """

    def value(name: str, found: Mapping[str, Any]) -> str:
        if name not in IN_UNITS:
            return number_with_interval(found["score"], found["interval"])
        low, high = found["interval"]
        return f"{found['score']:.4g} [{low:.4g}, {high:.4g}]"

    return ", ".join(f"{metric_name(name)} {value(name, found)}" for name, found in metrics.items() if name != metric)


def calibration_sentence(calibration: Mapping[str, Any]) -> str:
    """Say what the temperature is and what it changed, without a full stop.

    >>> calibration_sentence({"temperature": 1.5, "n": 100, "unit": "row", "why": None, "n_test": None})
    'temperature 1.50, fitted on 100 validation rows and folded into the last layer'
    """
    unit = calibration["unit"]
    units = f"{calibration['n']:,} validation {unit}{'' if calibration['n'] == 1 else 's'}"
    said = f"temperature {calibration['temperature']:.2f}, fitted on {units} and folded into the last layer"
    if calibration["why"] is not None:
        said += f" ({calibration['why']})"
    if calibration["n_test"] is not None:
        before, after = (
            number_with_interval(calibration[f"ece_{when}"], calibration[f"ece_{when}_interval"])
            for when in ("before", "after")
        )
        said += (
            f"; expected calibration error on {calibration['n_test']:,} test {unit}s {before} before, {after} after, "
            f"where perfect probabilities would show {calibration['ece_by_chance']:.3f} by chance; mean confidence "
            f"{calibration['confidence_before']:.3f} before, {calibration['confidence_after']:.3f} after, accuracy "
            f"{calibration['accuracy']:.3f}"
        )
    return said


def recalls(by_class: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Classes with their recalls as texts, the lowest first; classes without test rows have none.

    >>> recalls([{"name": "a", "n": 4, "recall": 0.75, "interval": (0.3, 0.95)}, {"name": "b", "n": 0, "recall": None}])
    [('a', '0.750 [0.300, 0.950] of 4')]
    """
    found = sorted((row for row in by_class if row["recall"] is not None), key=lambda row: row["recall"])
    return [
        (row["name"], f"{number_with_interval(row['recall'], row.get('interval'))} of {row['n']:,}") for row in found
    ]


def class_table(by_class: Sequence[Mapping[str, Any]]) -> str:
    """Recall, precision and F1 by class as a Markdown table, the lowest recall first.

    >>> print(class_table([{"name": "a|b", "n": 4, "n_predicted": 3, "recall": 0.75, "interval": (0.3, 0.95),
    ...                     "precision": 1.0, "f1": 0.857}]))
    | class | recall, 95 % interval | precision | F1 | test rows | predicted |
    |---|---|---|---|---|---|
    | a\\|b | 0.750 [0.300, 0.950] | 1.000 | 0.857 | 4 | 3 |
    """

    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    ordered = sorted(by_class, key=lambda row: (row["recall"] is None, row["recall"] or 0.0))
    lines = ["| class | recall, 95 % interval | precision | F1 | test rows | predicted |", "|---|---|---|---|---|---|"]
    for row in ordered[:MOST_CLASSES]:
        recall = "–" if row["recall"] is None else number_with_interval(row["recall"], row["interval"])
        name = " ".join(row["name"].split())[:80].replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
        values = (name, recall, cell(row["precision"]), cell(row["f1"]), f"{row['n']:,}", f"{row['n_predicted']:,}")
        lines.append(f"| {' | '.join(values)} |")
    if len(ordered) > MOST_CLASSES:
        lines.append(f"\n{len(ordered) - MOST_CLASSES:,} classes with higher recall are not shown.")
    return "\n".join(lines)
