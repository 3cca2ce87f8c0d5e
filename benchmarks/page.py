"""Puts figures into docs/benchmarks.md, between markers: nobody copies numbers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.process import ROOT

PAGE: Final = ROOT / "docs" / "benchmarks.md"
END: Final = "<!-- end -->"


def write_block(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between `<!-- figures: NAME -->` and the next `<!-- end -->`.

    Raises
    ------
    ValueError
        The page has no such markers.
    """
    old = page.read_text(encoding="utf-8")
    head, begin, rest = old.partition(f"<!-- figures: {name} -->\n")
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no block `{name}`")
    page.write_text(f"{head}{begin}{text.strip()}\n{end}{tail}", encoding="utf-8")
