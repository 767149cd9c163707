"""``python -m advisor`` and the ``advisor`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from advisor.cli import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
