"""Write what lists the chapters: README.md (from nbs/index.ipynb) and the sidebar of _quarto.yml.

`python tools/contents.py`; with `--check`, only say whether they are fresh."""

import argparse
import re
from itertools import groupby

import nbformat
from chapters import NBS, ROOT, Stop, chapters, promise, read, rooms
from nbconvert import MarkdownExporter

from mlsys import core

README = ROOT / "README.md"
QUARTO = ROOT / "_quarto.yml"
MARK = "<!-- chapters -->"


def table() -> str:
    "The chapters that exist, each with its promise; links start in nbs/."
    rows = [f"| [{title}]({p.name}) | {text} |" for p in chapters() for title, text in [promise(p)]]
    return "\n".join(["| Chapter | What it does |", "|---|---|", *rows])


def readme() -> str:
    "README.md as it should be."
    nb = read(NBS / "index.ipynb")
    cells = []
    for c in nb["cells"]:
        directives = [line for line in c["source"].splitlines() if line.startswith("#|")]
        if any(re.match(r"#\|\s*(hide|default_exp|export)\b", d) for d in directives):
            continue
        if c["cell_type"] == "code":
            c["source"] = "\n".join(x for x in c["source"].splitlines() if x not in directives)
        cells.append(c)
    if not any(MARK in c["source"] for c in cells):
        raise Stop(f"nbs/index.ipynb has no line {MARK}, where the table of chapters goes")
    nb["metadata"]["language_info"] = {"name": "python"}  # nbdev-clean drops it, and the exporter leaves fences bare without it
    text, _ = MarkdownExporter().from_notebook_node(nbformat.from_dict({**nb, "cells": cells}))
    text = text.replace(MARK, table())
    # links of the notebook start in nbs/, those of the README at the top
    text = re.sub(r"(\]\(|src=\")(?!https?:|#|mailto:|\.\./)", r"\1nbs/", text).replace("](../", "](")
    return re.sub(r"\n{3,}", "\n\n",
                  f"<!-- Made from nbs/index.ipynb by tools/contents.py: edit that one. "
                  f"-->\n\n{text.strip()}\n")


def sidebar() -> str:
    "The sidebar's entries: parts, chapters, and under each chapter its rooms."
    lines = ["      - text: What it is", "        href: nbs/index.ipynb"]
    for part, book in groupby(core.BOOK, lambda c: c.part):
        lines += [f"      - section: {part}", "        contents:"]
        for chapter in book:
            own = [p for p in rooms() if p.name[3:].partition(".")[0].lstrip("_") == chapter.name]
            href = f"nbs/{chapter.notebook}.ipynb"
            if own:
                lines += [f"          - section: {promise(NBS / f'{chapter.notebook}.ipynb')[0]}",
                          f"            href: {href}",
                          "            contents:", *(f"              - nbs/{p.name}" for p in own)]
            else:
                lines.append(f"          - {href}")
    return "\n".join(lines)


def quarto() -> str:
    "_quarto.yml as it should be."
    text = QUARTO.read_text(encoding="utf-8")
    return re.sub(r"(  sidebar:\n(?:    \S.*\n)*?    contents:\n)(?:      .*\n)+",
                  lambda m: m[1] + sidebar() + "\n", text)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a file is stale")
    check = args.parse_args().check
    for path, text in ((README, readme()), (QUARTO, quarto())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise Stop(f"{path.name} is stale: run `python tools/contents.py`")
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
