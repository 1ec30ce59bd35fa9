"""Run every benchmark of this folder, print one table, and write build/benchmarks.json and the report that shows it."""
import json
import platform
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mlsys import core, report

HERE = Path(__file__).parent


def main():
    rows = []
    for script in sorted(p for p in HERE.glob("*.py")
                         if p.name not in ("run.py", "sides.py", "tables.py", "testing_rules.py")):
        print(f"{script.name} ...", file=sys.stderr)
        end = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=HERE)
        if end.returncode:
            sys.exit(f"{script.name} failed:\n{end.stderr}")
        rows += [json.loads(line) for line in end.stdout.splitlines() if line.startswith("{")]
    table = Table(title=f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; "
                        f"ratio = peer / ours")
    for name in ("what", "ours", "peer", "ratio", "target"):
        table.add_column(name)
    for r in rows:
        ours, peer, ratio = (report.shown_number(r[k]) for k in ("ours", "peer", "ratio"))
        table.add_row(r["what"], f"{ours} {r['unit']}", f"{peer} {r['unit']}", ratio, str(r["target"]))
    Console(width=160).print(table)
    s = core.load_settings(HERE.parent / "settings.ini")
    core.write_json(core.build_folder(s) / "benchmarks.json", rows)
    report.write_report(s)


if __name__ == "__main__":
    main()
