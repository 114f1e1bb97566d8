"""Write the main table of the published statistics into README.md, between its two marks."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentwire.headline import headline_markdown, read_headline

BEGIN = "<!-- main table: `make readme` writes it from results/aggregate/stats.json -->\n"
END = "<!-- end of the main table -->\n"


def with_main_table(text: str, table: str) -> str:
    """The text with the table between the marks.

    Raises:
        SystemExit: A mark is missing, or there are several.
    """
    if not text.count(BEGIN) == text.count(END) == 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(
            f"README.md has not one {BEGIN.strip()!r} before one {END.strip()!r}, so there is no place for the table. "
            "Next: put both lines where the table is to stand"
        )
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def write_readme(root: Path) -> None:
    """Write the table of the repository at `root` into its README."""
    table = headline_markdown(read_headline(root))
    readme = root / "README.md"
    readme.write_text(with_main_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__).parse_args()
    write_readme(Path())
