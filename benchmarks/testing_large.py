"""Ten million rows from one Parquet file, verdict and reasons for every row, in memory that does not grow.

The year of flights is repeated with shifted dates; `test_file` tests one million rows of it, and ten, each in a process of its own that
reports its peak of resident memory. Bad rows are written with their reasons.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MILLIONS = (1, 10)


def repeated(path, rows, data, columns):
    "The year again and again, each a year later."
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    year = data.read(columns).combine_chunks()
    at, written = year.column_names.index(data.time), 0
    with pq.ParquetWriter(path, year.schema) as file:
        while written < rows:
            part = year.slice(0, rows - written)
            shift = pa.scalar(364 * 86_400_000_000 * (written // len(year)), pa.duration("us"))
            moved = pc.add(part[data.time].cast(pa.timestamp("us", part[data.time].type.tz)),
                           shift).cast(part[data.time].type)
            file.write_table(part.set_column(at, data.time, moved), row_group_size=131_072)
            written += len(part)


def once(path, suite):
    "One side: seconds, rows and peak of memory as JSON."
    from mlsys import testing
    start = time.perf_counter()
    found = testing.test_file(path, suite, bad=Path(path).with_name("bad.parquet"))
    seconds = time.perf_counter() - start
    told = dict(line.split(":", 1)
                for line in open("/proc/self/status"))  # getrusage would count the memory of the parent too
    print(json.dumps(dict(seconds=seconds, rows=found["rows"], bad=found["bad"],
                          peak_mb=int(told["VmHWM"].split()[0]) / 1024)))


def main():
    from mlsys import core, formats, testing
    data = formats.dataset(core.load_settings(ROOT / "settings.ini"))
    columns = [*data.features, data.time, data.entity]
    suite, told = testing.learn(data.read(columns, data.train), time=data.time), []
    with tempfile.TemporaryDirectory() as scratch:
        suite.save(Path(scratch) / "suite.json")
        for n in MILLIONS:
            path = Path(scratch) / f"{n}.parquet"
            repeated(path, n * 1_000_000, data, columns)
            end = subprocess.run([sys.executable, __file__, str(path), str(Path(scratch) / "suite.json")],
                                 capture_output=True, text=True, check=True)
            told.append(json.loads(end.stdout))
    small, large = told
    what = f"{large['rows']:,} x {len(columns)} rows from Parquet, {large['bad']:,} bad, with reasons and duplicates"
    print(json.dumps(dict(name="testing_large_rows", what=f"{what} (peer: the speed of 1 million)",
                          ours=large["rows"] / large["seconds"],
                          peer=small["rows"] / small["seconds"],
                          ratio=large["rows"] / large["seconds"] / (small["rows"] / small["seconds"]),
                          target=">= 0.8", unit="rows/s")))
    print(json.dumps(dict(name="testing_large_memory", what=f"{what}: peak memory (peer: that of 1 million)",
                          ours=large["peak_mb"],
                          peer=small["peak_mb"], ratio=small["peak_mb"] / large["peak_mb"], target=">= 0.7",
                          unit="MB")))


if __name__ == "__main__":
    once(*sys.argv[1:]) if len(sys.argv) > 1 else main()
