"""The labelling desk in a real JupyterLab and a real browser, for its tests, its benchmark and its picture.

`python tools/desk_lab.py` draws nbs/images/desk.png anew."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# as few words with the outside as possible; a sandbox of its own does not work for root, whom containers like
FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
         "--no-first-run", "--disable-gpu"]


def chromium() -> str | None:
    "The browser of this system: $CHROMIUM, or the first known name on the path."
    names = filter(None, [os.environ.get("CHROMIUM"), *NAMES])
    return next(filter(None, map(shutil.which, names)), None)


def wait_for(what, seconds=60.0, every=0.05):
    "The first true answer of `what()`."
    end = time.monotonic() + seconds
    while not (answer := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {seconds:g} s: {what}")
        time.sleep(every)
    return answer


def notebook(path, *cells):
    "Write a notebook of code cells."
    cell = dict(cell_type="code", execution_count=None, metadata={}, outputs=[])
    book = dict(cells=[cell | dict(id=f"cell{i}", source=source) for i, source in enumerate(cells)],
                nbformat=4, nbformat_minor=5)
    kernel = dict(name="python3", display_name="Python 3", language="python")
    path.write_text(json.dumps(book | dict(metadata=dict(kernelspec=kernel))))


@contextlib.contextmanager
def server(folder: Path, theme="JupyterLab Light"):
    "A JupyterLab of its own over `folder`, on loopback with a token, without the user's settings."
    home = folder / ".jupyter"
    places = {f"JUPYTER_{x}_DIR": str(home / x.lower()) for x in ("CONFIG", "DATA", "RUNTIME")}
    places["IPYTHONDIR"] = str(home / "ipython")
    places |= {f"JUPYTERLAB_{x}_DIR": str(home / x.lower()) for x in ("SETTINGS", "WORKSPACES")}
    settings = {
        "config/labconfig/page_config.json": {
            "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}},
        "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": theme}}
    for name, value in settings.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(json.dumps(value))
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--ServerApp.port_retries=0",
               "--LabApp.expose_app_in_browser=True"]
    options += ["--allow-root"] * (os.geteuid() == 0)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(home / "log.txt", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        env = os.environ | places | {"PYTHONPATH": path}
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log,
                                   start_new_session=True)

    def address():
        if process.poll() is not None:
            raise RuntimeError((home / "log.txt").read_text())
        for path in (home / "runtime").glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):  # half written
                about = json.loads(path.read_text())
                return f"{about['url']}lab/tree/{{}}?reset&token={about['token']}" if about["port"] else None
    try:
        yield wait_for(address)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def browser(**context):
    "A page of the system's Chromium."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        chrome = play.chromium.launch(executable_path=chromium(), args=FLAGS,
                                      chromium_sandbox=os.geteuid() != 0)
        try:
            yield chrome.new_context(**context).new_page()
        finally:
            chrome.close()


def run_all(page, address, name):
    "Open a notebook and run its cells."
    page.goto(address.format(name))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    session = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session"
    page.wait_for_function(f"{session}?.kernel?.status === 'idle'", timeout=60_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


EXAMPLE = """
import numpy as np, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
from mlsys.labeling import Desk
reviews = pq.read_table({reviews!r}).slice(0, {rows})
words = {{"praise": (1, "love|best|delicious|excellent|perfect"), "blame": (0, "bad|waste|awful|stale"),
         "again": (1, "again|favorite"), "but": (0, "but|however")}}
found = [pc.extract_regex(reviews["review"], rf"(?i)\\b(?P<word>{{w}})\\b") for _, w in words.values()]
labels = [label for label, _ in words.values()]
votes = np.column_stack([np.where(f.is_valid().to_numpy(), label, -1) for f, label in zip(found, labels)])
order = np.argsort(-(votes >= 0).sum(axis=1), kind="stable")

def desk(annotator="anna", file=None, order=order):
    return Desk(reviews.select(["review", "product"]), ["less", "five stars"], file or annotator + ".jsonl",
                annotator, order, votes=votes, functions=list(words),
                reason=lambda position, function: found[function][position].as_py()["word"])
"""


def example(rows=60) -> str:
    "Code that defines `desk(annotator)`: food reviews, and four functions that vote by words."
    return EXAMPLE.format(reviews=str(ROOT / "data" / "food_reviews.parquet"), rows=rows).strip()


def picture(folder: Path, theme: str, width: int, answers: str, cell="desk()"):
    "A screenshot of the desk in one theme, after some keys."
    name = f"{theme.split()[-1].lower()}-{width}.ipynb"
    notebook(folder / name, example(), cell)
    screen = dict(viewport=dict(width=width, height=1000), device_scale_factor=1.5)
    with server(folder, theme) as address, browser(**screen) as page:
        run_all(page, address, name)
        page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        page.click(".mlsys-desk .desk-row")
        for key in answers:
            before = page.inner_text(".desk-head")
            page.keyboard.press(key)
            page.wait_for_function("before => document.querySelector('.desk-head').innerText != before",
                                   arg=before)
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "page.png")
        page.locator(".jp-OutputArea-output:has(.mlsys-desk)").last.screenshot(path=folder / "desk.png")
    from PIL import Image
    return Image.open(folder / "desk.png").convert("RGB")


def main():
    import tempfile

    from PIL import Image
    shots = []
    for theme in ("Light", "Dark"):
        with tempfile.TemporaryDirectory() as tmp:
            shots.append(picture(Path(tmp), f"JupyterLab {theme}", 860, "2s"))
    both = Image.new("RGB", (sum(s.width for s in shots), max(s.height for s in shots)), "white")
    for i, shot in enumerate(shots):
        both.paste(shot, (i * shots[0].width, 0))
    both.quantize(255, dither=Image.Dither.NONE).save(ROOT / "nbs" / "images" / "desk.png", optimize=True)


if __name__ == "__main__":
    main()
