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
FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run", "--disable-gpu"]


def chromium() -> str | None:
    "The browser of this system: $CHROMIUM, or the first known name on the path."
    return next((found for name in (os.environ.get("CHROMIUM"), *NAMES) if name and (found := shutil.which(name))), None)


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
    book = dict(cells=[cell | dict(id=f"cell{i}", source=source) for i, source in enumerate(cells)], nbformat=4, nbformat_minor=5)
    path.write_text(json.dumps(book | dict(metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")))))


@contextlib.contextmanager
def server(folder: Path, theme="JupyterLab Light"):
    "A JupyterLab of its own over `folder`, on loopback with a token and without the user's settings; yields its address."
    home = folder / ".jupyter"
    places = {f"JUPYTER_{x}_DIR": str(home / x.lower()) for x in ("CONFIG", "DATA", "RUNTIME")} | {"IPYTHONDIR": str(home / "ipython")}
    places |= {f"JUPYTERLAB_{x}_DIR": str(home / x.lower()) for x in ("SETTINGS", "WORKSPACES")}
    for name, value in {"config/labconfig/page_config.json": {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}},
                        "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": theme}}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(json.dumps(value))
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"]
    options += ["--allow-root"] * (os.geteuid() == 0)
    with open(home / "log.txt", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], cwd=folder, stdout=log, stderr=log,
                                   env=os.environ | places | {"PYTHONPATH": str(ROOT)}, start_new_session=True)

    def address():
        if process.poll() is not None:
            raise RuntimeError((home / "log.txt").read_text())
        for path in (home / "runtime").glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):  # half written
                about = json.loads(path.read_text())
                return f"{about['url']}lab/tree/{{}}?token={about['token']}" if about["port"] else None
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
        chrome = play.chromium.launch(executable_path=chromium(), args=FLAGS, chromium_sandbox=os.geteuid() != 0)
        try:
            yield chrome.new_context(**context).new_page()
        finally:
            chrome.close()


def run_all(page, address, name):
    "Open a notebook and run its cells."
    page.goto(address.format(name))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=60_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
