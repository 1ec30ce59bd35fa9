"""The flights' CSV into Parquet (zstd), bounded memory: `formats.convert` against pandas, 100,000 rows at a time.

A chunk cannot know the types of the next, so the types are given to pandas: no pass over the file is charged
to it for finding them.
"""

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
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        c: "boolean" if pd.api.types.is_object_dtype(k) else k for c, k in pd.read_csv(CSV).dtypes.items()
    }  # yes or no, or missing
    schema = pa.Schema.from_pandas(pd.read_csv(CSV, dtype=kinds, nrows=1000), preserve_index=False)

    def run():
        with pq.ParquetWriter(OUT, schema, compression="zstd") as writer:
            for chunk in pd.read_csv(CSV, chunksize=100_000, dtype=kinds):
                writer.write_table(pa.Table.from_pandas(chunk, schema=schema, preserve_index=False))

    return run


if __name__ == "__main__":
    try:
        compare(
            __file__,
            dict(ours=ours, peer=peer),
            "formats_convert_pandas",
            "CSV of 84 MB to Parquet (peer: pandas, chunks)",
            "> 1.5",
            repeats=5,
        )
    finally:
        OUT.unlink(missing_ok=True)
