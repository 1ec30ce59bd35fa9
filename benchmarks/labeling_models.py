"""The closed form on votes against Snorkel's LabelModel (500 epochs), on the votes of the flights' functions, January to March.

Before timing, the closed form must rank the rows as well as the iterated fit, measured by the AUC against the true labels.
"""
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent


def votes():
    "The votes that the chapter left, and the truth."
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from mlsys import core, formats
    s = core.load_settings(ROOT / "settings.ini")
    data = formats.dataset(s)
    labels = pq.read_table(core.folder(s, "labeling") / "labels.parquet")
    labels = labels.filter(pc.is_in(labels[data.key], value_set=pa.array(data.train)))
    table = data.read(["_row", data.target], data.train)
    assert table["_row"].equals(labels["_row"])
    y = data.labels(table)
    return np.array(labels["votes"].combine_chunks().flatten()).reshape(len(labels), -1)[~np.isnan(y)], y[~np.isnan(y)]


def ours():
    from mlsys.labeling.votes import triplets
    L, _ = votes()
    return lambda: triplets(L, 0.2)


def peer():
    from snorkel.labeling.model import LabelModel
    L = votes()[0].astype(int)

    def fit():
        model = LabelModel(cardinality=2, verbose=False)
        model.fit(L, class_balance=[0.8, 0.2], n_epochs=500, seed=0, progress_bar=False)
        return model
    return fit


if __name__ == "__main__":
    import sys
    words = ""
    if len(sys.argv) == 1:
        from mlsys.labeling.endmodel import auc
        L, y = votes()
        closed, fitted = auc(y, ours()().proba(L)[:, 1]), auc(y, peer()().predict_proba(L.astype(int))[:, 1])
        assert closed > fitted - 0.01, f"AUC {closed:.3f} and {fitted:.3f}"
        words = f"trust in {L.shape[1]} functions from {len(L):,} rows, AUC {closed:.3f} and {fitted:.3f} (peer: Snorkel's LabelModel, 500 epochs)"
    compare(__file__, dict(ours=ours, peer=peer), "labeling_models", words, ">= 170", "ms", 1000, repeats=5)
