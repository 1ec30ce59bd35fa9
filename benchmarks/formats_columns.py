"""Four of the flights' columns for one month: the partitioned Parquet data set against pandas on the CSV."""

from pathlib import Path

from sides import compare

COLUMNS = ["carrier", "distance", "hour", "late"]
ROOT = Path(__file__).parent.parent


def ours():
    from mlsys import core, formats

    data = formats.dataset(core.load_settings(ROOT / "settings.ini"))
    return lambda: data.read(COLUMNS, periods=["07"]).to_pandas()


def peer():
    import pandas as pd

    path = ROOT / "build" / "formats" / "flights.csv"

    def july():
        frame = pd.read_csv(path, usecols=[*COLUMNS, "time_hour"])
        return frame[frame["time_hour"].str[5:7] == "07"][COLUMNS]

    return july


if __name__ == "__main__":
    compare(
        __file__,
        dict(ours=ours, peer=peer),
        "formats_columns",
        "read 4 columns of July (peer: pandas, CSV)",
        "> 10",
        "ms",
        1000,
    )
