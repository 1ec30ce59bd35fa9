"""The flights' CSV into Parquet (zstd), types inferred: `formats.convert` against DuckDB's COPY, two threads each."""

import os
import tempfile
from pathlib import Path

from sides import compare

CSV = Path(__file__).parent.parent / "build" / "formats" / "flights.csv"
OUT = Path(tempfile.gettempdir()) / f"formats_convert_{os.getpid()}.parquet"


def ours():
    from mlsys import formats

    return lambda: formats.convert(CSV, OUT)


def peer():
    import duckdb

    con = duckdb.connect(config={"threads": 2})
    return lambda: con.execute(
        f"copy (from read_csv('{CSV}')) to '{OUT}' (format parquet, compression zstd)"
    ).fetchall()


if __name__ == "__main__":
    try:
        compare(
            __file__,
            dict(ours=ours, peer=peer),
            "formats_convert",
            "CSV of 84 MB to Parquet (peer: DuckDB COPY)",
            "> 1",
            repeats=5,
        )
    finally:
        OUT.unlink(missing_ok=True)
