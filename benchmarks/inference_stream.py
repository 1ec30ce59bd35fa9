"""Scoring 3 M rows, the year repeated: `inference.score` in batches against reading the whole file and predicting it in one go.

Each side runs in a process of its own, so that its peak memory is its own.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = 3_000_000

OURS = "from mlsys import inference; inference.score(*sys.argv[1:], progress=False)"
PEER = """
import pyarrow as pa, pyarrow.parquet as pq
from mlsys import training
bundle, table = training.load_bundle(sys.argv[1]), pq.read_table(sys.argv[2])
pq.write_table(table.select([]).append_column("probability", pa.array(bundle.predict(table))), sys.argv[3])
"""
PEAK = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"


def once(code, bundle, source, out):
    "Seconds and peak memory in MB of a process."
    start = time.perf_counter()
    command = [sys.executable, "-c", "import sys\n" + code + PEAK, bundle, source, out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, float(done.stdout)


def repeat(table, rows, path):
    "Write the table again and again until there are so many rows."
    import pyarrow.parquet as pq
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        while rows > 0:
            writer.write_table(table.slice(0, rows), row_group_size=65_536)
            rows -= len(table)


def main():
    from mlsys import core, formats
    s = core.load_settings(ROOT / "settings.ini")
    data, bundle = formats.dataset(s), core.folder(s, "training") / "bundle"
    year = data.read([*data.features, data.time, data.entity])
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        repeat(year, len(year), tmp / "year.parquet")
        repeat(year, ROWS, tmp / "big.parquet")
        _, year_mb = once(OURS, bundle, tmp / "year.parquet", tmp / "out.parquet")
        ours, ours_mb = once(OURS, bundle, tmp / "big.parquet", tmp / "out.parquet")
        peer, peer_mb = once(PEER, bundle, tmp / "big.parquet", tmp / "peer.parquet")

    def line(name, what, ours, peer, target, unit):
        print(json.dumps(dict(name=name, what=what, ours=ours, peer=peer, ratio=peer / ours, target=target,
                              unit=unit)))
    line("inference_memory", "peak memory of scoring 3 M rows (peer: the whole file at once)", ours_mb,
         peer_mb, "> 2", "MB")
    line("inference_flat", "peak memory, 3 M rows against one year (peer: one year)", ours_mb, year_mb,
         "> 0.8", "MB")
    line("inference_seconds", "3 M rows, start of the process included (peer: the whole file at once)", ours,
         peer, "> 0.7", "s")


if __name__ == "__main__":
    main()
