"""The price of a prediction: the network through ONNX Runtime against scikit-learn's histogram gradient boosting, trained on the same rows.

Three shapes. `core`: codes and floats that are ready in memory, a month of flights at once; like against like. `whole`: a month as an Arrow table
with its texts and missing values, everything included on both sides. `row`: the same for a single row, as an online server asks. The trees
are the ones that the chapter's ladder tuned, fitted anew here; the network is the one in build/training/bundle (`make run` makes it).
"""
import os
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
SHAPES = {"core": "a month, codes and floats ready", "whole": "a month, raw columns", "row": "one row, raw columns"}


def prepared():
    "Settings, the bundle's features, and the rows to predict."
    from mlsys import core, formats, training
    s = core.load_settings(ROOT / "settings.ini")
    data, bundle = formats.dataset(s), training.load_bundle(training.core.folder(s, "training") / "bundle")
    table = training.labelled(data, s, data.test[:1])
    return s, data, bundle, table.slice(0, 1) if os.environ["SHAPE"] == "row" else table


def repeated(function):
    "A single row takes microseconds: do it a hundred times."
    return (lambda: [function() for _ in range(100)]) if os.environ["SHAPE"] == "row" else function


def ours():
    from mlsys import training
    _, _, bundle, table = prepared()
    if os.environ["SHAPE"] != "core":
        return repeated(lambda: bundle.predict(table))
    session, rows = training.session(bundle.files["core.onnx"]), training.rows(table, bundle.features)

    def predict():  # in pieces that fit the processor's cache
        return [session.run(None, {"codes": rows.codes[i:i + 1024], "floats": rows.floats[i:i + 1024]}) for i in range(0, len(rows), 1024)]
    return predict


def peer():
    from mlsys import training
    s, data, bundle, table = prepared()
    fit_table, valid_table = training.split(training.labelled(data, s, data.train))
    fit, valid = (training.rows(t, bundle.features) for t in (fit_table, valid_table))
    trees = training.fit_boosting(fit, valid, bundle.features, s.run.seed)
    if os.environ["SHAPE"] != "core":
        return repeated(lambda: trees(training.rows(table, bundle.features)))
    rows = training.rows(table, bundle.features)
    assert len(np.unique(trees(rows))) > 100
    return lambda: trees(rows)


if __name__ == "__main__":
    import sys
    for shape, words in SHAPES.items():
        if len(sys.argv) == 1:
            os.environ["SHAPE"] = shape
        compare(__file__, {"ours": ours, "peer": peer}, f"training_{shape}", f"network in ONNX Runtime vs HistGradientBoosting: {words}", ">= 10")
        if len(sys.argv) > 1:
            break
