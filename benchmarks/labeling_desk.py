"""What a labelling tool takes of a person's time: from the key (or click) until the next row is on screen.

Both tools run in one JupyterLab in one headless Chromium, each in a kernel of its own, in turns of 20 labels.
Ours is driven by keys and has every answer on disk, synchronised, before it shows the next row. The peer is
pigeon, the usual small tool for notebooks: it takes clicks and keeps the answers in memory. Times are read in
the page, from the time stamp of the event to the paint after the change.
"""
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import desk_lab  # noqa: E402

TURNS, LABELS = 6, 20
OURS = ".mlsys-desk .desk-head", ".mlsys-desk"
PEER = ".jp-OutputArea-output .widget-output", ".jp-OutputArea-output .widget-hbox button"
# resolves to the milliseconds between the next key or click and the first frame that shows another text
WATCH = """what => {
  const text = () => document.querySelector(what)?.innerText ?? "", before = text();
  window.took = new Promise((done) => {
    let start;
    for (const kind of ["keydown", "click"]) {
      addEventListener(kind, (e) => { start ??= e.timeStamp; }, { capture: true, once: true });
    }
    new MutationObserver((_, watcher) => {
      if (!text().trim() || text() === before) return;
      watcher.disconnect();
      requestAnimationFrame(() => {
        const after = new MessageChannel();
        after.port1.onmessage = () => done(performance.now() - start);
        after.port2.postMessage(0);
      });
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
}"""


def label(page, shows, act):
    "Milliseconds of one label."
    page.evaluate(WATCH, shows)
    act()
    return page.evaluate("window.took")


def main():
    screen = dict(viewport=dict(width=1100, height=900))
    with (tempfile.TemporaryDirectory() as tmp, desk_lab.server(Path(tmp)) as address,
          desk_lab.browser(**screen) as ours):
        peer = ours.context.new_page()
        rows = (TURNS + 1) * LABELS + 1
        example = desk_lab.example(rows)
        desk_lab.notebook(Path(tmp) / "ours.ipynb", example, "desk()")
        desk_lab.notebook(Path(tmp) / "peer.ipynb", example, "from pigeon import annotate\n"
                          "texts = reviews['review'].to_pylist()\n"
                          "annotations = annotate(texts, options=['less', 'five stars'], display_fn=print)")
        for page, name in ((ours, "ours"), (peer, "peer")):
            desk_lab.run_all(page, address, f"{name}.ipynb")
        ours.click(".mlsys-desk .desk-row", timeout=60_000)
        button = peer.locator(PEER[1]).first
        sides = [(ours, OURS[0], lambda i: ours.keyboard.press("12"[i % 2])),
                 (peer, PEER[0], lambda i: button.click(no_wait_after=True))]
        times = [[], []]
        for turn in range(TURNS + 1):  # the first is to warm up
            for (page, shows, act), took in zip(sides, times, strict=True):
                page.bring_to_front()
                page.wait_for_timeout(200)
                turn_took = [label(page, shows, lambda i=i, act=act: act(i)) for i in range(LABELS)]
                took += turn_took if turn else []
        assert len((Path(tmp) / "anna.jsonl").read_text().splitlines()) == rows - 1
    for name, words, number in (("", "median", statistics.median),
                                ("_p95", "95th percentile", lambda x: statistics.quantiles(x, n=20)[-1])):
        a, b = map(number, times)
        what = ("labelling desk: key to next row on screen, answer on disk, "
                f"{words} (peer: pigeon, click, answer in memory)")
        print(json.dumps(dict(name=f"labeling_desk{name}", what=what, ours=a, peer=b, ratio=b / a,
                              target=">= 1", unit="ms")))


if __name__ == "__main__":
    main()
