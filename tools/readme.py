"""Write README.md from nbs/index.ipynb: `python tools/readme.py`; with `--check`, only say whether it is fresh."""

import argparse
import re

import nbformat
from chapters import NBS, ROOT, Stop, chapters, promise, read
from nbconvert import MarkdownExporter

README = ROOT / "README.md"
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
    return re.sub(r"\n{3,}", "\n\n", f"<!-- Made from nbs/index.ipynb by tools/readme.py: edit that one. -->\n\n{text.strip()}\n")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--check", action="store_true", help="write nothing; exit code 1 when README.md is stale")
    text = readme()
    if args.parse_args().check:
        if not README.exists() or README.read_text(encoding="utf-8") != text:
            raise Stop("README.md is stale: run `python tools/readme.py`")
    else:
        README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
