"""The site as a reader gets it: built once from the notebooks of this build, then read as HTML."""
import ast
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "build" / "notebooks"
pytestmark = pytest.mark.skipif(not NOTEBOOKS.is_dir(),
                                reason="no executed notebooks in build/notebooks: run `make run`")


def docs(root, *args):
    return subprocess.run([sys.executable, root / "tools" / "docs.py", *map(str, args)], capture_output=True,
                          text=True, cwd=root)


def copy_of_tree(to):
    "What the docs tool reads, in a place where a test may spoil it."
    for name in ("tools", "nbs"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__",
                                                                              ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "_quarto.yml"):
        shutil.copy(ROOT / name, to)
    shutil.copytree(NOTEBOOKS, to / "build" / "notebooks")
    return to


class Page(HTMLParser):
    "Ids, links, loaded files, pictures and text of a page."
    void = {"meta", "link", "img", "br", "hr", "input"}

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads, self.pictures, self.text, self.code, self.stack = path, [], [], [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids += [a["id"]] if "id" in a else []
        self.links += [a["href"]] if tag == "a" and a.get("href") else []
        self.loads += [a[k] for k in ("src", "href") if a.get(k)
                       and tag in ("script", "link", "img", "iframe", "source")]
        self.pictures += [a] if tag == "img" else []
        if tag not in self.void:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            (self.code if {"pre", "code"} & set(self.stack) else self.text).append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "_site"
    made = docs(ROOT, "--out", out)
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {p.name: Page(p) for p in site.glob("*.html")}


def modules():
    "Dotted name and file of every module that defines something: rooms, and chapters without rooms."
    files = sorted(p for p in (ROOT / "mlsys").rglob("*.py") if not p.name.startswith("_"))
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in files}


def test_every_chapter_has_a_page_and_a_place_in_the_sidebar(pages):
    chapters = {re.sub(r"^\d\d[a-z]?_|\.ipynb$", "", p.name) for p in (ROOT / "nbs").glob("*.ipynb")}
    assert {Path(name).stem for name in pages} == chapters
    for name, page in pages.items():
        assert chapters <= {Path(x.split("#")[0]).stem for x in page.links}, f"{name} does not lead to every chapter"


def test_nothing_comes_from_another_site(site, pages):
    for name, page in pages.items():
        assert not [x for x in page.loads if re.match(r"(https?:)?//", x)], name
        assert not re.search(r"\bcdn\.|katex|mermaid\.|fonts\.g", page.path.read_text(encoding="utf-8")), name
    for css in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", css.read_text(encoding="utf-8")), css.name


def test_a_theme_is_whole(site):
    "Taking the font server out of a theme once cut its first rule in two, and the light page came out dark."
    for css in (site / "site_libs" / "themes").glob("*.css"):
        text = css.read_text(encoding="utf-8")
        assert re.search(r"\*/:root", text) and text.count("{") == text.count("}"), css.name


def test_no_link_is_broken(site, pages):
    broken = []
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), f"{name}: an id twice: {[i for i in page.ids if page.ids.count(i) > 1][:3]}"
        for link in [*page.links, *page.loads]:
            if re.match(r"[a-z][a-z+.-]*:", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (site / path / "index.html" if path.endswith("/") else site / path) if path else page.path
            if not target.is_file() or (anchor and anchor not in pages[target.name].ids):
                broken.append(f"{name}: {link}")
    assert not broken


def test_references_and_directives_are_resolved(pages):
    for name, page in pages.items():
        assert not re.search(r"@(fig|tbl|eq|sec)-|\{#|:::|\{=html", "".join(page.text)), name
        assert not re.search(r"^#\|", "".join(page.code), re.MULTILINE), name
        assert "injected-parameters" not in page.path.read_text(encoding="utf-8"), name


def test_every_picture_is_described(pages):
    for name, page in pages.items():
        assert all((p.get("alt") or "").strip() for p in page.pictures), name
        html = page.path.read_text(encoding="utf-8")
        assert len(re.findall(r"<figure", html)) <= len(page.pictures) + html.count("<svg"), name


def test_every_public_name_is_found(site, pages):
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    found = {(e["section"], e["title"]): e["href"] for e in index}
    for module, path in modules().items():
        public = next((ast.literal_eval(n.value) for n in ast.parse(path.read_text(encoding="utf-8")).body
                       if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"), [])
        for name in public:
            href = found.get((module, name))
            assert href, f"{module}.{name} is not in the search index"
            page, anchor = href.split("#")
            assert anchor in pages[page].ids, href


def test_search_needs_no_server(site):
    index = (site / "search.json").read_text(encoding="utf-8")
    script = (site / "search.js").read_text(encoding="utf-8")
    assert json.loads(script.removeprefix("window.searchIndex = ").rstrip(";\n")) == json.loads(index)
    code = (site / "site_libs" / "smalldocs.js").read_text(encoding="utf-8")
    assert "search.js" in code and "fetch(" not in code


def test_outputs_are_those_of_this_build(site):
    page = (site / "core.html").read_text(encoding="utf-8")
    ran = json.loads((NOTEBOOKS / "00_core.ipynb").read_text(encoding="utf-8"))
    data = [o.get("data", {}) for c in ran["cells"] for o in c.get("outputs", [])]
    pictures = ["".join(d["image/png"]).strip() for d in data if "image/png" in d]
    assert pictures and all(p in page for p in pictures)


@pytest.mark.parametrize("spoil, words", [
    (lambda t: (t / "build/notebooks/00_core.ipynb").unlink(),
     "00_core.ipynb has not been executed in this build: run `make run` first"),
    (lambda t: edit(t / "nbs/00_core.ipynb", "code", "1 + 1"),
     "00_core.ipynb has changed since it was executed: run `make run` first"),
    (lambda t: edit(t / "nbs/00_core.ipynb", "markdown", "see @fig-nowhere"),
     "@fig-nowhere refers to nothing"),
    (lambda t: edit(t / "nbs/00_core.ipynb", "markdown", "```mermaid\nflowchart LR\n```"),
     "draw it as an SVG"),
    (lambda t: (t / "_quarto.yml").write_text((t / "_quarto.yml").read_text() + "# nbs/99_none.ipynb"),
     "do not exist: 99_none.ipynb"),
])
def test_a_stale_or_broken_book_is_refused(tmp_path, spoil, words):
    tree = copy_of_tree(tmp_path)
    spoil(tree)
    made = docs(tree, "--out", tree / "_site")
    assert made.returncode == 1 and words in made.stderr and "Traceback" not in made.stderr
    assert not (tree / "_site").exists()


def edit(path, kind, source):
    nb = json.loads(path.read_text(encoding="utf-8"))
    cell = {"cell_type": kind, "id": "edit", "metadata": {}, "source": source}
    nb["cells"].append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    path.write_text(json.dumps(nb), encoding="utf-8")


def test_math_references_and_names_become_html(tmp_path):
    tree = copy_of_tree(tmp_path)
    edit(tree / "nbs/00_core.ipynb", "markdown",
         "## Sums {#sec-sums}\n\nBy @eq-sum of @sec-sums, $x_i*y_j*z$ for \\$5 and "
         "`core.atomic`:\n\n$$ L = \\sum_i x_i $$ {#eq-sum}\n\n`@fig-x` stays.")
    made = docs(tree, "--out", tree / "_site")
    assert made.returncode == 0, made.stderr
    page = (tree / "_site/core.html").read_text(encoding="utf-8")
    assert '<a href="#eq-sum">Equation 1</a>' in page and '<a href="#sec-sums">Sums</a>' in page and 'id="eq-sum"' in page
    assert page.count("<math") == 2 and "<code>@fig-x</code>" in page and "for $5" in page
    assert re.search(r'<a href="(core\.html)?#core\.atomic"><code>core\.atomic</code></a>', page)


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    made = docs(ROOT, "--out", tmp_path)
    assert made.returncode == 1 and "name another folder" in made.stderr and (tmp_path / "thesis.txt").exists()


def test_processed_notebooks_for_quarto(tmp_path):
    import yaml
    made = docs(ROOT, "--stage", tmp_path / "book")
    assert made.returncode == 0, made.stderr
    config = yaml.safe_load((tmp_path / "book" / "_quarto.yml").read_text(encoding="utf-8"))

    def pages(entry):
        "Pages of an entry of the sidebar: a file, or a section that may have a page and further entries."
        if isinstance(entry, str):
            return [entry]
        return [*filter(None, [entry.get("href")]), *(x for e in entry.get("contents", []) for x in pages(e))]
    listed = pages(config["website"]["sidebar"])
    assert sorted(listed) == sorted(p.name for p in (tmp_path / "book").glob("*.ipynb")) and len(listed) > 3
    assert config["project"]["type"] == "website"
