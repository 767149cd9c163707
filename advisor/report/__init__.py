"""The report of a run: one page to look at (HTML), and the same in Markdown."""

from advisor.report.build import render_html, render_markdown, write_report

__all__ = ["render_html", "render_markdown", "write_report"]
