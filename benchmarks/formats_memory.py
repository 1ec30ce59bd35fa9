"""A CSV of 3 GB, made on the spot, into Parquet: peak memory of `formats.convert` and of DuckDB's COPY."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CSV = Path(__file__).parent.parent / "build" / "formats" / "flights.csv"
PEAK = "; import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
OURS = "import sys; from mlsys import formats; formats.convert(sys.argv[1], sys.argv[2])" + PEAK
PEER = (
    "import sys, duckdb; duckdb.connect(config={'threads': 2}).execute(f\"copy (from "
    "read_csv('{sys.argv[1]}')) to '{sys.argv[2]}' "
    '(format parquet, compression zstd)").fetchall()'
) + PEAK


def peak(code, src, dst):
    return float(
        subprocess.run(
            [sys.executable, "-c", code, src, dst], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        src, dst = f"{folder}/big.csv", f"{folder}/big.parquet"
        head, _, body = CSV.read_bytes().partition(b"\n")
        with open(src, "wb") as f:
            f.write(head + b"\n")
            while f.tell() < 3e9:
                f.write(body)
        ours, other = peak(OURS, src, dst), peak(PEER, src, dst)
        print(
            json.dumps(
                dict(
                    name="formats_memory",
                    what="peak memory, CSV of 3 GB to Parquet (peer: DuckDB COPY; limit 600)",
                    ours=ours,
                    peer=other,
                    ratio=other / ours,
                    target="> 1",
                    unit="MB",
                )
            )
        )


if __name__ == "__main__":
    main()
