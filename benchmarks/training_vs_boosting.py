"""The price of a prediction: the network through ONNX Runtime against scikit-learn's histogram gradient boosting, trained on the same rows.

Three shapes. `core`: codes and floats that are ready in memory, a month of flights at once; like against like. `whole`: a month as an Arrow table
with its texts and missing values, everything included on both sides. `row`: the same for a single row, as an online server asks. The trees
are the ones that the chapter's ladder tuned, fitted anew here; the network is the one in build/training/bundle (`make run` makes it).

Raw columns meet the trees in two ways. `ours`' own encoding, which is the fastest that trees can get here; and what a practitioner writes
(`_pandas`): a pandas frame, scikit-learn's OrdinalEncoder in a ColumnTransformer, and the trees with the recipe that the ladder chose.
"""
import os
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
SHAPES = {"core": "a month, codes and floats ready", "whole": "a month, raw columns",
          "row": "one row, raw columns",
          "whole_pandas": "a month, raw columns; trees behind OrdinalEncoder and pandas",
          "row_pandas": "one row, raw columns; trees behind OrdinalEncoder and pandas"}


def prepared():
    "Settings, the bundle, and the rows to predict."
    from mlsys import core, formats
    from mlsys.training import load_bundle
    from mlsys.training.splits import labelled
    s = core.load_settings(ROOT / "settings.ini")
    data, bundle = formats.dataset(s), load_bundle(core.folder(s, "training") / "bundle")
    table = labelled(data, s, data.test[:1])
    return s, data, bundle, table.slice(0, 1) if os.environ["SHAPE"].startswith("row") else table


def repeated(function):
    "A single row takes microseconds: do it a hundred times."
    return (lambda: [function() for _ in range(100)]) if os.environ["SHAPE"].startswith("row") else function


def ours():
    from mlsys.training import encode
    from mlsys.training.graph import run_onnx
    _, _, bundle, table = prepared()
    if os.environ["SHAPE"] != "core":
        return repeated(lambda: bundle.predict(table))
    codes, floats = encode(table, bundle.features)
    return lambda: run_onnx(bundle.core, dict(codes=codes, floats=floats))


def pipeline(fit_table, fit, valid_table, valid, features):
    "The trees of the practitioner: the same recipe and number of trees, behind scikit-learn's own encoders."
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    from mlsys.training.ladder import fit_boosting
    tuned = fit_boosting(fit, valid, features).fitted
    texts, times = list(features.strings), [features.time]

    def hour_and_weekday(frame):
        when = frame[features.time].dt
        return np.column_stack([when.hour, when.weekday])

    encoders = make_column_transformer((OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                                        texts),
                                       (FunctionTransformer(hour_and_weekday), times),
                                       (FunctionTransformer(), list(features.numbers)))
    trees = HistGradientBoostingClassifier(**tuned.get_params()
                                           | dict(max_iter=tuned.n_iter_, early_stopping=False))
    return make_pipeline(encoders, trees).fit(fit_table.to_pandas(), fit.y)


def peer():
    from mlsys.training.features import Rows, encode, rows
    from mlsys.training.ladder import fit_boosting
    from mlsys.training.splits import labelled, split
    s, data, bundle, table = prepared()
    fit_table, valid_table = split(labelled(data, s, data.train))
    fit, valid = (rows(t, bundle.features) for t in (fit_table, valid_table))
    if os.environ["SHAPE"].endswith("pandas"):
        model, frame = pipeline(fit_table, fit, valid_table, valid, bundle.features), table.to_pandas()
        return repeated(lambda: model.predict_proba(frame))
    trees = fit_boosting(fit, valid, bundle.features, s.run.seed)

    def predict(): return trees(Rows({}, *encode(table, bundle.features), None))
    if os.environ["SHAPE"] != "core":
        return repeated(predict)
    ready = rows(table, bundle.features)
    assert len(np.unique(trees(ready))) > 100
    return lambda: trees(ready)


if __name__ == "__main__":
    import sys
    for shape, words in SHAPES.items():
        if len(sys.argv) == 1:
            os.environ["SHAPE"] = shape
        compare(__file__, {"ours": ours, "peer": peer}, f"training_{shape}",
                f"network in ONNX Runtime vs HistGradientBoosting: {words}", ">= 10")
        if len(sys.argv) > 1:
            break
