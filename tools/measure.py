"""How big the book's parts are: `python tools/measure.py [--detail]`.

Modules: lines, syntax nodes of a function, lines over 110 characters. Notebooks: cells, words of prose per code cell, exported cells, examples.
"""
import argparse
import ast
import re
from pathlib import Path
from statistics import median, quantiles

from chapters import ROOT, chapters, read, rooms

PACKAGE = ROOT / "mlsys"
LONG = 110


def modules() -> list[Path]:
    "The modules of the package, faces and rooms; not the index that nbdev writes."
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name != "_modidx.py")


def functions(path: Path) -> dict[str, int]:
    "Syntax nodes of each function of a module; a function inside another counts for both."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {f"{n.name}:{n.lineno}": sum(1 for _ in ast.walk(n))
            for n in ast.walk(tree) if isinstance(n, kinds)}


def code_lines(source: str) -> list[str]:
    "Lines of a cell that are neither blank nor a comment or directive."
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def is_exported(source: str) -> bool:
    return bool(re.search(r"^#\|\s*exports?\b", source, re.MULTILINE))


def only_imports(source: str) -> bool:
    tree = ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line
                               for line in source.splitlines()))
    return all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in tree.body)


def notebook(path: Path) -> dict:
    "The figures of one notebook."
    cells = read(path)["cells"]
    code = [c["source"] for c in cells if c["cell_type"] == "code"]
    prose = " ".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    exported = [s for s in code if is_exported(s) and not only_imports(s)]
    examples = [s for s in code if not is_exported(s) and not only_imports(s) and "default_exp" not in s]
    row, rows = 0, []
    for source in code:
        row = row + 1 if is_exported(source) and not only_imports(source) else 0
        rows.append(row)
    return dict(
        cells=len(cells),
        code=len(code),
        words_per_code=len(prose.split()) / max(1, len([s for s in code if not only_imports(s)])),
        exported=len(exported),
        examples=len(examples),
        asserting=sum("assert" in s or "refused(" in s for s in examples),
        export_lines=[len(code_lines(s)) for s in exported],
        in_a_row=max(rows, default=0),
    )


def module(path: Path) -> dict:
    "The figures of one module, without the list of names that nbdev writes."
    text = re.sub(r"^# %% auto #0\n.*?(?=^# %%)", "", path.read_text(encoding="utf-8"),
                  flags=re.DOTALL | re.M)
    lines = [x for x in text.splitlines()[1:] if not x.startswith("# %%")]  # the first line is the promise
    return dict(lines=len(lines), nodes=list(functions(path).values()),
                long=sum(len(x) > LONG for x in lines),
                over_100=sum(len(x) > 100 for x in lines))


def ninth(values: list) -> float:
    "The 90th percentile."
    return quantiles(values, n=10)[-1] if len(values) > 1 else (values or [0])[0]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--detail", action="store_true", help="a line for every module and notebook")
    detail = args.parse_args().detail
    made = {str(p.relative_to(PACKAGE)): module(p) for p in modules()}
    books = {p.stem: notebook(p) for p in [*chapters(), *rooms()]}
    if detail:
        for name, m in made.items():
            print(f"{name:32}{m['lines']:6} lines {median(m['nodes'] or [0]):5.0f} nodes {m['long']:4} long "
                  f"lines")
        for name, b in books.items():
            print(f"{name:32}{b['cells']:4} cells {b['words_per_code']:4.0f} words/code {b['exported']:4} "
                  f"exported {b['examples']:4} "
                  f"examples {b['asserting']:4} asserting, {b['in_a_row']} in a row")
    sizes = [m["lines"] for m in made.values()]
    nodes = [n for m in made.values() for n in m["nodes"]]
    lines = [n for b in books.values() for n in b["export_lines"]]
    print(f"modules {len(sizes)}: median {median(sizes):.0f} lines, largest {max(sizes)}")
    print(f"functions {len(nodes)}: median {median(nodes):.0f} syntax nodes, 90 % at most {ninth(nodes):.0f}")
    print(f"lines over {LONG} characters {sum(m['long'] for m in made.values()) / sum(sizes):.1%}, "
          f"over 100 {sum(m['over_100'] for m in made.values()) / sum(sizes):.1%}")
    print(f"exported cells {len(lines)}: median {median(lines):.0f} lines, 90 % at most {ninth(lines):.0f}")
    print(f"examples per exported cell {sum(b['examples'] for b in books.values()) / len(lines):.2f}")
    told = [books[p.stem] for p in chapters()]
    print(f"chapters {len(told)}: largest {max(b['cells'] for b in told)} cells, "
          f"{min(b['words_per_code'] for b in told):.0f} words "
          "of prose per code cell at least")


if __name__ == "__main__":
    main()
