"""Build the docs site from the notebooks that were executed in this build: `python tools/docs.py [--out _site]`.

    nbs/*.ipynb + outputs of build/notebooks/*.ipynb
      -> staged copies: an entry with signature and parameters for each exported name, references numbered, links resolved
      -> nbdev's processing: directives and hidden cells gone, front matter made
      -> smalldocs: HTML, search, light and dark
      -> small repairs: search that works from file://, no font from another site

Nothing is written outside `--out` (and `--stage`), and `--out` is replaced only when all went well."""

import argparse
import ast
import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import tokenize
from pathlib import Path

from chapters import NBS, NOTEBOOKS, ROOT, Stop, chapters, executed, promise, rooms
from contents import MARK, table
from measure import only_imports

REF = re.compile(r"(?<![\w`])@((fig|tbl|eq|sec)-[\w-]*\w)")
WORDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}
CODE = re.compile(r"(^```.*?^```[ \t]*$|`+[^`\n]+`+)",
                  re.MULTILINE | re.DOTALL)  # fences and code spans, where nothing is rewritten
MATH = re.compile(r"\$\$(.+?)\$\$(?:\s*\{#(eq-[\w-]+)\})?|(?<![\\\w$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\d$])",
                  re.DOTALL)


def page_name(path: Path) -> str:
    """00_core.ipynb -> core.ipynb, 03a_testing.rules.ipynb -> testing.rules.ipynb: addresses that
    survive renumbering."""
    return re.sub(r"^\d\d[a-z]?_", "", path.name)


# ---------------------------------------------------------------- directives


def directives(source: str) -> dict[str, str]:
    "`#| key: value` and `#| key value` lines of a cell."
    found = re.findall(r"^#\|[ \t]*([\w-]+)[ \t]*:?[ \t]*(.*)$", source, re.MULTILINE)
    return {k: v.strip().strip("\"'") for k, v in found}


def bare(source: str) -> str:
    "The cell without its directives."
    return "\n".join(line for line in source.splitlines() if not line.startswith("#|")).strip("\n")


# ---------------------------------------------------------------- the API, read from the exported cells
# nbdev's show_doc would execute every exported cell (torch included), lists the classes of one cell backwards, shows pydantic
# models as `**data`, and gives a comment beside `**kwargs` to the return value. The source says all of it.


def comments(source: str) -> dict[int, str]:
    "Comment of each line."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def parameters(node, source: str) -> list[tuple[str, str, str, str]]:
    "Rows (name, type, default, comment) of a function, the returned value last as `returns`."
    notes, a = comments(source), node.args
    body = node.body[0].lineno
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    named = [(x.arg, x, d) for x, d in zip(positional, defaults, strict=True)]
    if a.vararg:
        named.append(("*" + a.vararg.arg, a.vararg, None))
    named += [(x.arg, x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    if a.kwarg:
        named.append(("**" + a.kwarg.arg, a.kwarg, None))
    last = {x.lineno: name for name, x, _ in named}  # a comment speaks of the last parameter on its line
    closing = [line for line in range(node.lineno, body)
               if source.splitlines()[line - 1].lstrip().startswith(")")]
    header_end = max(closing, default=node.lineno)

    def text(x):
        return ast.unparse(x) if x is not None else ""

    def note(name, line):
        return notes.get(line, "") if last.get(line) == name and line not in (body, header_end) else ""

    rows = [(name, text(x.annotation), text(d), note(name, x.lineno))
            for name, x, d in named if name not in ("self", "cls")]
    back = notes.get(header_end, "") if header_end < body else ""
    return rows + [("returns", text(node.returns), "", back)] * bool(back)


def signature(node) -> str:
    "`name(arguments) -> type`, one argument a line where it would be long."
    a, back = node.args, f" -> {ast.unparse(node.returns)}" if node.returns else ""
    short = f"{node.name}({ast.unparse(a)}){back}".replace("(self, ", "(").replace("(self)", "()")
    if len(short) <= 84:
        return short
    parts = [line.strip() for line in re.split(r", (?![^\[(]*[\])])", ast.unparse(a))
             if line.strip() != "self"]
    return f"{node.name}(\n" + "".join(f"    {p},\n" for p in parts) + f"){back}"


def grid(head: list[str], rows: list[tuple], names: tuple = ()) -> str:
    "A Markdown table without the columns that say nothing."
    keep = [i for i in range(len(head)) if i == 0 or any(r[i] for r in rows)]

    def cell(x, code):
        return f"`{x.replace('|', chr(92) + '|')}`" if code and x else x.replace("|", "\\|")

    def line(r):
        return "| " + " | ".join(cell(r[i], i in names and r[i] != "returns") for i in keep) + " |"

    return "\n".join(["| " + " | ".join(head[i] for i in keep) + " |", "|" + "---|" * len(keep),
                      *map(line, rows)])


def kind(field: ast.AnnAssign) -> tuple[str, str]:
    "Type and default of a field as a reader says them: pydantic's `Field(30, gt=0)` is 30, and > 0."
    note, value = field.annotation, field.value
    if isinstance(note, ast.Subscript) and ast.unparse(note.value).endswith("Annotated"):
        note = note.slice.elts[0]
    if isinstance(note, ast.Subscript) and ast.unparse(note.value).endswith("Literal"):
        note = note.slice
        text = " | ".join(map(ast.unparse, note.elts)) if isinstance(note, ast.Tuple) else ast.unparse(note)
    else:
        text = ast.unparse(note)
    if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "Field":
        signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
        text += "".join(f", {signs[k.arg]} {ast.unparse(k.value)}"
                        for k in value.keywords if k.arg in signs).replace(",", "", 1)
        value = value.args[0] if value.args else next((k.value for k in value.keywords if k.arg == "default"), None)
    return text, "" if value is None else ast.unparse(value)


def doc(node) -> str:
    return (ast.get_docstring(node) or "").strip()


def entry(node, source: str, module: str) -> tuple[str, list[dict]]:
    "Markdown of one function or class, and what the search index says of it and its methods."
    place, is_class = f"{module}.{node.name}", isinstance(node, ast.ClassDef)
    rows, head, found, methods, table_rows = [], ["Parameter", "Type", "Default", ""], [], [], []
    if is_class:
        notes, head[0] = comments(source), "Field"
        rows = [(f.target.id, *kind(f), notes.get(f.end_lineno, ""))
                for f in node.body if isinstance(f, ast.AnnAssign)]
        init = next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"), None)
        if init:
            rows, head[0] = parameters(init, source), "Parameter"
        methods = [m for m in node.body if isinstance(m, (ast.FunctionDef, ast.AsyncFunctionDef))
                   and not m.name.startswith("_")]
        shown = f"class {node.name}({', '.join(map(ast.unparse, node.bases))})" if node.bases else f"class {node.name}"
    else:
        shown, rows = signature(node), parameters(node, source)
    marks = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
    parts = [f"### `{node.name}` {{#{place} .api-name}}", f"```python\n{marks}{shown}\n```", doc(node)]
    if any(any(r[1:]) for r in rows) and (is_class or any(r[3] for r in rows)):
        parts.append(grid(head, rows, (0, 1, 2)))
    for m in methods:
        prop = any(ast.unparse(d).endswith("property") for d in m.decorator_list)
        said = "; ".join(f"`{n}`: {c}" if n != "returns" else f"returns {c}"
                         for n, _, _, c in parameters(m, source) if c)
        call, words = m.name if prop else " ".join(signature(m).split()), " ".join(f"{doc(m)}{f' ({said})' if said else ''}".split())
        found.append({"name": f"{node.name}.{m.name}", "anchor": f"{place}.{m.name}",
                      "text": f"{call} {words}"})
        table_rows.append((f'<span id="{place}.{m.name}">`{call}`</span>', words))
    if methods:
        parts.append(grid(["Method", ""], table_rows))
    text = " ".join([shown, doc(node), *(" ".join(r) for r in rows)])
    found.insert(0, {"name": node.name, "anchor": place, "text": " ".join(text.split())})
    return "::: {.api}\n" + "\n\n".join(p for p in parts if p) + "\n:::\n", found


def exported(source: str, module: str) -> tuple[list[dict], list[dict]]:
    "The cells that stand for an exported cell, and its entries for the search index."
    code, cells, found = bare(source), [], []
    if not code or only_imports(source):
        return [], []
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            text, entries = entry(node, code, module)
            cells.append(markdown(text))
            found += entries
    names = []
    for node in ast.parse(code).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            left = [t for x in getattr(node, "targets", None) or [node.target] for t in ast.walk(x)]
            targets = [t.id for t in left if isinstance(t, ast.Name) and isinstance(t.ctx, ast.Store)
                       and t.id[0] != "_"]
            names += targets
            found += [{"name": n, "anchor": f"{module}.{n}",
                       "text": " ".join(ast.get_source_segment(code, node).split())} for n in targets]
    if names:
        cells.insert(0, markdown("".join(f'<span id="{module}.{n}"></span>' for n in names)))
    # the book shows what a function promises and folds how it does it; constants are short and stay open
    defs = [n.name for n in ast.parse(code).body if hasattr(n, "name")]
    summary = "Source" if any("{.api}" in c["source"] for c in cells) else f"Source of {', '.join(names + defs)}"
    fold = f"#| code-fold: true\n#| code-summary: {json.dumps(summary)}\n" if defs else ""
    return [*cells, {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": fold + code}], found


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


# ---------------------------------------------------------------- references, links and math


def label_of(cell: dict) -> list[str]:
    "Labels that a cell defines: of its figure or table, of headings, equations and pictures."
    if cell["cell_type"] == "code":
        return [x for x in [directives(cell["source"]).get("label", "")] if x[:4] in ("fig-", "tbl-")]
    text = CODE.sub("", cell["source"])
    return re.findall(r"\{#((?:fig|eq|sec|tbl)-[\w-]+)", text)


def number(books: dict[str, dict]) -> dict[str, tuple[str, str]]:
    "Label -> (page, words of a reference to it), figures, tables and equations counted by page."
    where = {}
    for page, nb in books.items():
        count = dict.fromkeys(WORDS, 0)
        for cell in nb["cells"]:
            for label in label_of(cell):
                if label in where:
                    raise Stop(f"{nb['path'].name}: the label {label} is also in {where[label][0]}; choose "
                               f"another")
                kind = label.split("-")[0]
                count[kind] += 1
                heading = re.search(rf"^#+ (.+?)\s*\{{#{label}", cell["source"], re.MULTILINE)
                where[label] = (page, heading[1] if heading else f"{WORDS[kind]} {count[kind]}")
    return where


def outside(text: str, change) -> str:
    "Apply `change` to the Markdown that is not code."
    return "".join(part if i % 2 else change(part) for i, part in enumerate(CODE.split(text)))


def mathml(tex: str, display: bool) -> str:
    from latex2mathml.converter import convert  # only where a chapter uses math

    out = re.sub(r"\s*\n\s*", " ", convert(tex.strip(), display="block" if display else "inline"))
    # inline HTML is still Markdown between its tags
    return re.sub(r"[*_`\[\]$~^]", lambda m: f"&#{ord(m[0])};", out)


def prose(text: str, page: str, nb: dict, labels: dict, names: dict) -> str:
    "A Markdown cell with its references, chapter links, math and `names` resolved."
    file = nb["path"].name
    if re.search(r"^```\s*\{?mermaid", text, re.MULTILINE):
        raise Stop(f"{file}: a mermaid diagram needs another site's script; draw it as an SVG in nbs/images")

    def refer(m):
        if m[1] not in labels:
            raise Stop(f"{file}: @{m[1]} refers to nothing; the labels here are "
                       f"{', '.join(sorted(labels)) or 'none'}")
        to, words = labels[m[1]]
        return f"[{words}]({to if to != page else ''}#{m[1]})" + (f" of *{nb['titles'][to]}*" if to != page else "")

    def equation(m):
        if m[3]:
            return mathml(m[3], False)
        tag = f"[({labels[m[2]][1].split()[-1]})]{{.equation-number}}" if m[2] else ""
        return f"\n\n::: {{.equation{' #' + m[2] if m[2] else ''}}}\n{mathml(m[1], True)}{tag}\n:::\n\n"

    def plain(part):
        part = MATH.sub(equation, part)
        # one scheme of addresses: chapter links lose the number of the file
        link = r"\]\((?:nbs/)?\d\d[a-z]?_([\w.]+?)\.(?:ipynb|html)(#[^)]*)?\)"
        part = re.sub(link, lambda m: f"]({m[1]}.ipynb{m[2] or ''})", part)
        return REF.sub(refer, part)

    def name(m):
        known, looks_like_code = m[1].removesuffix("()"), re.search(r"[().A-Z_]", m[1])  # `time` may be a column, not a function
        to = names.get((page, known)) or (names.get((None, known)) if looks_like_code else None)
        return f"[`{m[1]}`]({to})" if to else m[0]

    text = re.sub(r"!\[([^\]]*)\]\(([^)]+)\)\{#(fig-[\w-]+)",
                  lambda m: f"![{labels[m[3]][1]}: {m[1]}]({m[2]}){{#{m[3]}", text)
    text = outside(text, plain)
    spans = re.compile(r"(?<![\[`])`([A-Za-z_][\w.]*(?:\(\))?)`(?![\]`{])")
    fences = re.split(r"(^```.*?^```[ \t]*$)", text, flags=re.MULTILINE | re.DOTALL)

    def linked(part):
        return "\n".join(line if line.startswith("#") else spans.sub(name, line) for line in part.split("\n"))

    return "".join(part if i % 2 else linked(part) for i, part in enumerate(fences))


def aligned(html: str) -> str:
    "pandas sets every column flush right; columns with words belong at the left."
    head, sep, body = html.partition("<tbody>")
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
            for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]
    width = max(map(len, rows), default=0)
    number = re.compile(r"\s*(|[-+−]?[\d.,_]+(e[-+]?\d+)?\s?(%|×|x)?|nan|NaN|None|NaT|—|-)\s*", re.ASCII)
    words = [any(not number.fullmatch(row[i]) for row in rows if len(row) == width) for i in range(width)]
    if "colspan" in head or not any(words):
        return html
    names = re.split(r"(?=<th)", head.partition("</tr>")[0])  # the last ones are the columns' names
    for i, text in enumerate(words):
        names[i - width] = names[i - width].replace("<th", '<th class="words"', 1) if text else names[i - width]
    column = iter(range(len(rows) * width))
    body = re.sub(r"<td>", lambda m: '<td class="words">' if words[next(column) % width] else m[0], body)
    return "".join(names) + "</tr>" + head.partition("</tr>")[2] + sep + body


def shown(cell: dict, nb: dict, labels: dict) -> dict:
    """A code cell ready for the site: its caption numbered, its pictures described, its tables without
    pandas' styles."""
    d, file = directives(cell["source"]), nb["path"].name
    label, pictures = d.get("label", ""), [o for o in cell["outputs"] if any(k.startswith("image/") for k in o.get("data", {}))]
    if pictures and "fig-alt" not in d and "hide" not in d:
        raise Stop(
            f'{file}: a picture without words for those who cannot see it; add `#| fig-alt: "..."` to the '
            f'cell that begins with '
            f"'{bare(cell['source']).splitlines()[0]}'"
        )
    if label.startswith("fig-") and not pictures:
        raise Stop(f"{file}: the cell labelled {label} shows no picture")
    for key, kind in (("fig-cap", "fig"), ("tbl-cap", "tbl")):
        if key in d and label.startswith(kind):
            line = json.dumps(f"{labels[label][1]}: {d[key]}", ensure_ascii=False)
            cell["source"] = "\n".join(f"#| {key}: {line}" if re.match(rf"#\|\s*{key}\s*:", x) else x
                                       for x in cell["source"].split("\n"))
    for o in cell["outputs"]:
        data = o.get("data", {})
        if pictures and o not in pictures and list(data) == ["text/plain"]:
            data["text/plain"] = ""
        if "text/html" in data:
            html = re.sub(r"<style scoped>.*?</style>\s*", "", "".join(data["text/html"]), flags=re.DOTALL)
            html = html.replace('border="1" class="dataframe"', 'class="dataframe"')
            data["text/html"] = re.sub(r'<table class="dataframe">.*?</table>', lambda m: aligned(m[0]), html,
                                       flags=re.DOTALL)
    cell["outputs"] = [o for o in cell["outputs"] if o.get("data", {}) != {"text/plain": ""}]
    return cell


# ---------------------------------------------------------------- staging


def load(folder: Path) -> dict[str, dict]:
    "Page -> notebook with its executed outputs."
    books = {}
    for path in [NBS / "index.ipynb", *chapters(), *rooms()]:
        nb = executed(path, folder)
        first = next(i for i, c in enumerate(nb["cells"]) if c["cell_type"] == "markdown")
        title, words = promise(path)
        # nbdev keeps title and promise of the first cell and drops the rest of it: give the rest a cell of its own
        rest = re.sub(r"\A\s*#.*\n+(?:>.*\n?)+", "", nb["cells"][first]["source"])
        nb["cells"][first : first + 1] = [markdown(f"# {title}\n\n> {words}"),
                                          *([markdown(rest)] if rest.strip() else [])]
        code = next((d["default_exp"] for c in nb["cells"]
                     if "default_exp" in (d := directives(c["source"]))), "").removesuffix(".__init__")
        books[page_name(path)] = {**nb, "path": path, "title": title, "module": code}
    for nb in books.values():
        nb["titles"] = {p: b["title"] for p, b in books.items()}
    return books


def face(nb: dict) -> dict[str, list[str]]:
    "Room -> names that a chapter's face passes on from it, as its call of lazy_loader lists them."
    for cell in nb["cells"]:
        if cell["cell_type"] == "code" and "lazy_loader.attach" in cell["source"]:
            call = next(n for n in ast.walk(ast.parse(bare(cell["source"]))) if isinstance(n, ast.Call)
                        and n.keywords)
            return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == "submod_attrs"), {})
    return {}


def stage(books: dict[str, dict], to: Path) -> list[dict]:
    "Write what nbdev will process; returns the entries of the search index."
    labels, found, names = number(books), [], {}
    for page, nb in books.items():

        def is_export(c):
            return c["cell_type"] == "code" and "export" in directives(c["source"])

        nb["api"] = [exported(c["source"], nb["module"]) if is_export(c) else None for c in nb["cells"]]
        for e in (e for a in nb["api"] if a for e in a[1]):
            link = f"{page}#{e['anchor']}"
            found.append(
                {
                    "objectID": f"api:{e['anchor']}",
                    "href": link.replace(".ipynb#", ".html#"),
                    "title": e["name"],
                    "section": f"mlsys.{nb['module']}",
                    "text": e["text"],
                }
            )
            if (page, e["name"]) in names:
                raise Stop(f"{nb['path'].name}: {e['name']} is exported twice, and the second takes the "
                           f"place of the first; rename one")
            names[page, e["name"]] = link
            # a name that two chapters define is linked only where it is qualified
            names[None, e["name"]] = None if (None, e["name"]) in names else link
            names[None, e["anchor"]] = names[None, f"mlsys.{e['anchor']}"] = link
        if nb["module"]:
            names[None, f"mlsys.{nb['module']}"] = page
    # a face passes on what its rooms define: `testing.learn` leads to `testing.suite.learn`
    for nb in books.values():
        for room, passed in face(nb).items():
            for name in passed:
                place = names.get((None, f"{nb['module']}.{room}.{name}"))
                names[None, f"{nb['module']}.{name}"] = names[None, f"mlsys.{nb['module']}.{name}"] = place
    (to / "nbs").mkdir(parents=True)
    for page, nb in books.items():
        cells = []
        for c, api in zip(nb["cells"], nb["api"], strict=True):
            # tags and the run's metadata are no business of the page
            c["metadata"] = {}
            cells += [c] if api is None else api[0]
        for c in cells:
            if c["cell_type"] == "markdown":
                c["source"] = prose(c["source"].replace(MARK, table()), page, nb, labels, names)
            elif c["cell_type"] == "code":
                shown(c, nb, labels)
        plain = {"cells": cells, "metadata": nb["metadata"], "nbformat": 4, "nbformat_minor": 5}
        for i, c in enumerate(cells):
            c["id"] = f"c{i}"
        (to / "nbs" / page).write_text(json.dumps(plain), encoding="utf-8")
    # API entries are made above, so nbdev needs neither to execute nor to link
    options = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    options = options.replace("[tool.nbdev]\n",
                              '[tool.nbdev]\nskip_procs = '
                              '"add_show_docs,exec_show_docs,add_links,insert_warning"\n')
    (to / "pyproject.toml").write_text(options, encoding="utf-8")
    return found


def processed(books: dict[str, dict], to: Path) -> tuple[Path, list[dict]]:
    "A folder that smalldocs or Quarto can render: processed notebooks, pictures, _quarto.yml, style."
    from nbdev.serve import proc_nbs

    found = stage(books, to / "staged")
    with contextlib.chdir(to / "staged"):
        made = Path(proc_nbs("nbs", n_workers=0, force=True))
    site = to / "site"
    shutil.copytree(made, site)
    for page in site.glob("*.ipynb"):  # the files have their final names; smalldocs does not know the key
        page.write_text(re.sub(r"output-file: [\w.-]+(\\n)", "", page.read_text(encoding="utf-8")),
                        encoding="utf-8")
    if (NBS / "images").exists():
        shutil.copytree(NBS / "images", site / "images", dirs_exist_ok=True)
    (site / "tools").mkdir(exist_ok=True)
    shutil.copy(ROOT / "tools" / "style.css", site / "tools")
    config = (ROOT / "_quarto.yml").read_text(encoding="utf-8")
    listed = re.findall(r"nbs/([\w.-]+\.ipynb)", config)
    there = [p.name for p in (NBS / "index.ipynb", *chapters(), *rooms())]
    gone, left = [x for x in listed if x not in there], [x for x in there if x not in listed]
    if gone:
        raise Stop(f"_quarto.yml lists chapters that do not exist: {', '.join(gone)}; take them out of the "
                   f"sidebar")
    if left:
        raise Stop(f"_quarto.yml does not list {', '.join(left)}: give each a place in the sidebar")
    (site / "_quarto.yml").write_text(re.sub(r"nbs/(?:\d\d[a-z]?_)?", "", config), encoding="utf-8")
    return site, found


# ---------------------------------------------------------------- the site

SEARCH = """const r = await fetch(offset + "search.json");
      index = await r.json();"""
SEARCH_HERE = """index = await new Promise((done, failed) => {
        const s = document.createElement("script");
        s.src = offset + "search.js"; s.onload = () => done(window.searchIndex); s.onerror = failed;
        document.head.append(s);
      });"""


def by_line(code: re.Match) -> str:
    """Each line of a code block in a span that wraps with a hanging indent: nothing is cut off, on a
    phone neither."""
    lines, opened = [], []
    for line in code[2].split("\n"):
        indent = len(re.match(r" *", re.sub(r"<[^>]+>", "", line))[0]) + 4
        start, line = "".join(opened), line or " "
        for tag in re.findall(r"<span[^>]*>|</span>", line):
            opened = opened[:-1] if tag == "</span>" else [*opened, tag]
        lines.append(f'<span class="line" '
                     f'style="--indent:{indent}ch">{start}{line}{"</span>" * len(opened)}\n</span>')
    return code[1] + "".join(lines) + "</code>"


def render(site: Path, found: list[dict]) -> Path:
    "smalldocs' HTML, with its search working from file:// and nothing fetched from elsewhere."
    from smalldocs.config import load as config
    from smalldocs.site import Site

    built = Site(config(site), quiet=True)
    built.build()
    if built.warnings:
        raise Stop("the site has a fault: " + "; ".join(built.warnings))
    out = built.out
    headings, ours = json.loads((out / "search.json").read_text(encoding="utf-8")), {f["href"] for f in found}
    entries = [e for e in headings if e["href"] not in ours]
    index = json.dumps([*found, *entries], ensure_ascii=False)
    (out / "search.json").write_text(index, encoding="utf-8")
    # a page opened from a file may load a script but may not fetch; </ would end the script early were it ever inlined
    (out / "search.js").write_text("window.searchIndex = " + index.replace("</", "<\\/") + ";\n",
                                   encoding="utf-8")
    script = out / "site_libs" / "smalldocs.js"
    text = script.read_text(encoding="utf-8")
    if SEARCH not in text:
        raise Stop("smalldocs loads its search index in another way than 0.5.4 did: adapt tools/docs.py")
    script.write_text(text.replace(SEARCH, SEARCH_HERE), encoding="utf-8")
    for css in out.rglob("*.min.css"):  # the themes ask a font server; the style sheet names fonts that every system has
        css.write_text(re.sub(r"@import url\(https?:[^)]*\);", "", css.read_text(encoding="utf-8")),
                       encoding="utf-8")
    for page in out.glob("*.html"):
        html = page.read_text(encoding="utf-8")

        def code(m):
            return re.sub(r"`([^`]+)`", r"<code>\1</code>", m[0])

        html = re.sub(r"<figcaption>.*?</figcaption>|<caption>.*?</caption>", code, html, flags=re.DOTALL)
        html = re.sub(r'(<code class="sourceCode[^>]*>)(.*?)</code>', by_line, html, flags=re.DOTALL)
        page.write_text(html, encoding="utf-8")
    return out


def publish(made: Path, to: Path):
    "Take the place of the last site; a folder that is no site is left alone."
    if to.exists() and any(to.iterdir()) and not (to / "site_libs").is_dir() and not (to / "_quarto.yml").is_file():
        raise Stop(f"{to} holds something else than a site: name another folder with --out")
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, to)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--executed", type=Path, default=NOTEBOOKS, help="folder of executed notebooks")
    args.add_argument("--out", type=Path, default=ROOT / "_site", help="the site")
    args.add_argument("--stage", type=Path,
                      help="keep the processed notebooks in this folder (for Quarto) and build no site")
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        site, found = processed(load(args.executed.absolute()), Path(tmp))
        if args.stage:
            return publish(site, args.stage.absolute())
        out = render(site, found)
        pages = len(list(out.glob("*.html")))
        publish(out, args.out.absolute())
    where = args.out if not args.out.is_absolute() else os.path.relpath(args.out)
    print(f"{pages} pages, {len(found)} names in the search index: {where}/index.html")


if __name__ == "__main__":
    sys.exit(main())
