"""From a run folder's JSON to report.html and report.md."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.data.thumbnails import read_thumbnails
from advisor.report.fields import MOST_BLOCKS, block_count, whole
from advisor.report.page import make_page
from advisor.report.parts import Blocks, Fact, Page, Table
from advisor.report.wording import Markdown, capital, code_block, markdown
from advisor.runs import read_advice, read_tuning
from tuner.errors import DataError
from tuner.records import write_text_atomically

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def render_html(advice: Mapping[str, Any], *, tuning: Mapping[str, Any] | None = None) -> str:
    """The report as one self-contained page: no script, no outside request, light and dark.

    `advice` and `tuning` are the contents of advice.json and tuning.json. Every string is treated as data and escaped;
    missing and null parts are shown as "not measured" or left out. The same input gives the same bytes.
    """
    return _html(make_page(advice, tuning=tuning))


def render_markdown(advice: Mapping[str, Any], *, tuning: Mapping[str, Any] | None = None) -> str:
    """The same report as Markdown: the figures' tables in place of the figures. Every string is escaped."""
    return _markdown(make_page(advice, tuning=tuning))


def _html(page: Page) -> str:
    return _template("report.html.j2").render(page=page)


def _markdown(page: Page) -> str:
    return re.sub(r"\n{3,}", "\n\n", _template("report.md.j2").render(page=page)).strip() + "\n"


@functools.cache
def _template(name: str) -> Template:
    """A compiled template. Both formats escape every expression: HTML by autoescape, Markdown by `finalize`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    html = name.endswith(".html.j2")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=html,
        finalize=None if html else markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        drawing=Markup,  # our own SVG, whose texts were escaped when it was written
        code_block=code_block,
        strong=_strong,
        table=_table,
        fact_list=_fact_list,
        block_row=_block_row,
    )
    return environment.get_template(name)


def _strong(value: str) -> Markdown:
    return Markdown(f"**{markdown(value)}**" if value else "")


def _fact_list(facts: tuple[Fact, ...]) -> Markdown:
    notes = (f" ({markdown(fact.note.rstrip('.'))})" if fact.note else "" for fact in facts)
    return Markdown(
        "\n".join(
            f"- {markdown(capital(fact.label))}: {_strong(fact.value)}{note}"
            for fact, note in zip(facts, notes, strict=True)
        )
    )


def _block_row(blocks: Blocks) -> Markdown:
    """Frozen blocks light, trained blocks dark, then the head: `░░░░███ ▶`."""
    frozen = 0 if blocks.scratch else blocks.frozen
    return Markdown("`" + "░" * frozen + "█" * (blocks.total - frozen) + " ▶`")


def _table(table: Table) -> Markdown:
    head = "| " + " | ".join(markdown(capital(column)) for column in table.columns) + " |"
    rule = "|" + "|".join(" ---: " if numeric else " --- " for numeric in table.numeric) + "|"
    body = (
        "| " + " | ".join(_strong(cell) if i == table.mark else markdown(cell) for cell in row) + " |"
        for i, row in enumerate(table.rows)
    )
    return Markdown("\n".join((head, rule, *body)))


def write_report(folder: Path) -> Path:
    """Read advice.json, and tuning.json where there is one, and write report.html and report.md beside them.

    Returns the path of report.html. Raises `MissingFileError` where the folder or its advice.json is missing,
    `DataError` where a file in it is not what a run of this program writes, and `RunFolderError` where the folder
    cannot be written.
    """
    folder = Path(folder)
    advice, tuning = read_advice(folder), read_tuning(folder)
    for file, record in (("advice.json", advice["model"]), ("tuning.json", tuning or {})):
        if whole(record.get("n_blocks")) is not None and block_count(record["n_blocks"]) is None:
            raise DataError(
                f"{file} in {folder} says that the model has {record['n_blocks']:,} blocks",
                why=f"the report draws every one, and no model has more than {MOST_BLOCKS:,}",
                fix="run the command that wrote it again with its own --out folder",
            )
    blocks, tuned_blocks = advice["model"].get("n_blocks"), (tuning or {}).get("n_blocks")
    if tuned_blocks is not None and blocks is not None and tuned_blocks != blocks:
        raise DataError(
            f"advice.json and tuning.json in {folder} are from different models ({blocks} and {tuned_blocks} blocks)",
            why="a report that mixes two runs would be wrong without looking wrong",
            fix="run `advisor tune` again with its own --out folder",
        )
    if tuning is not None:  # only here is it known where the run lies
        tuning.setdefault("next_command", f"advisor predict {shlex.quote(str(folder))} NEW_DATA")
    page = make_page(advice, tuning=tuning, thumbnails=read_thumbnails(folder))
    write_text_atomically(folder / "report.md", _markdown(page))
    write_text_atomically(folder / "report.html", _html(page))
    return folder / "report.html"
