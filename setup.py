"""The wheel carries the chapters without their outputs; everything else is in pyproject.toml."""
import json
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithChapters(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "mlsys" / "chapters"
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(Path("nbs").glob("[0-9][0-9]_*.ipynb")):
            book = json.loads(path.read_text(encoding="utf-8"))
            for cell in book["cells"]:
                if cell["cell_type"] == "code":
                    cell |= {"outputs": [], "execution_count": None}
            (target / path.name).write_text(json.dumps(book, ensure_ascii=False), encoding="utf-8")


setup(cmdclass={"build_py": BuildWithChapters})
