"""Write the measured tables of concepts.md out of benchmarks/results: `python docs/make_tables.py`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "concepts.md"
NOT_YET = "Not measured yet."


def tables() -> dict[str, str]:
    """The tables by the names of their markers."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import blocks
    import evidence_table
    import strategies
    import tagging

    made = strategies.markdown_tables(strategies.Table(strategies.RESULTS))
    made["blocks"] = blocks.markdown_table() if blocks.RESULTS.exists() else NOT_YET
    made["tagging"] = tagging.table() if tagging.TABLE.exists() else NOT_YET
    made["situations"] = evidence_table.situations_table(
        evidence_table.read(evidence_table.RUNS), evidence_table.read(evidence_table.PROFILES)
    )
    return made


def filled(page: str, made: Mapping[str, str]) -> str:
    """A page with the tables between their markers.

    >>> filled("<!-- table: a -->\\nold\\n<!-- end -->\\n", {"a": "new"})
    '<!-- table: a -->\\n\\nnew\\n\\n<!-- end -->\\n'
    """

    def put(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n\n{made[found[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", put, page, flags=re.DOTALL)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
