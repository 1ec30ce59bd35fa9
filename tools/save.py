"""Put the outputs of the executed notebooks (build/notebooks) into nbs/, without noise: `python tools/save.py`.

Two runs of the same code on the same data leave no difference. Saved outputs are what a reader sees in a chapter that was not run."""

import argparse
import os
import re
import tempfile
from pathlib import Path

from chapters import NBS, NOTEBOOKS, ROOT, Stop, chapters, executed, rooms
from fastcore.nbio import nb2str
from nbdev.clean import clean_nb
from nbdev.config import get_config


def machine_paths(nb: dict) -> list[str]:
    "Outputs that name a folder of this machine: where in the notebook, and the text around it."
    homes = {str(ROOT), str(Path.home()), os.path.expanduser("~")} - {"/", "~"}
    # scratch folders have another name in every run
    folders = [re.escape(h) + r"(?=[/\\\s'\"<:]|$)" for h in sorted(homes)] + [re.escape(tempfile.gettempdir()) + r"/tmp\w"]
    word = re.compile(rf"({'|'.join(folders)})[^\s'\"<]*")
    texts = [
        (i, t)
        for i, c in enumerate(nb["cells"], 1)
        for o in c.get("outputs", [])
        for t in [o.get("text"), *(v for k, v in o.get("data", {}).items() if not k.startswith("image/p"))]
        if t
    ]
    return [f"cell {i}: {m[0]}" for i, t in texts
            for m in word.finditer(t if isinstance(t, str) else "".join(t))]


def cleaned(nb: dict) -> str:
    "The notebook as text, as nbdev-clean leaves it with the options of pyproject.toml."
    cfg = get_config(ROOT)
    clean_nb(nb, False, cfg.get("allowed_metadata_keys") or [], cfg.get("allowed_cell_metadata_keys") or [],
             cfg.clean_ids, [])

    def lines(t):
        return t.splitlines(keepends=True) if isinstance(t, str) else t

    for c in nb["cells"]:
        c["source"] = lines(c["source"])
        for o in c.get("outputs", []):
            if "text" in o:
                o["text"] = lines(o["text"])
            o.get("data", {}).update({k: lines(v)
                                      for k, v in o.get("data", {}).items()
                                      if k.startswith(("text/", "image/svg"))})
    return nb2str(nb)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--executed", type=Path, default=NOTEBOOKS, help="folder of executed notebooks")
    args = args.parse_args()
    texts = {}
    for path in [*chapters(), *rooms()]:
        nb = executed(path, args.executed)
        if where := machine_paths(nb):
            raise Stop(f"{path.name} shows a path of this machine ({where[0]}): print it relative to the "
                       f"folder, then `make run`")
        texts[path] = cleaned(nb)
    # nothing is written before everything is right
    changed = [p for p, text in texts.items() if p.read_text(encoding="utf-8") != text]
    for p in changed:
        p.write_text(texts[p], encoding="utf-8")
    print(f"{len(changed)} of {len(texts)} notebooks changed in {NBS.name}/"
          + "".join(f"\n  {p.name}" for p in changed))


if __name__ == "__main__":
    main()
