"""Exact Shapley values of the served model: every coalition in one batch of ONNX Runtime, against shap's exact explainer.

Players are nine columns of numbers of the flights, all others keep the values of one row; 32 rows against 16 background rows. Before
timing, both must give the same contributions to 1e-5.
"""
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
ROWS, BACKGROUND, PLAYERS = 32, 16, 9


def prepared():
    "The model as a function of a matrix of the players, and the rows to explain and to compare with."
    from mlsys import core, formats, training
    from mlsys.training.features import raw_inputs
    from mlsys.training.graph import run_onnx
    s = core.load_settings(ROOT / "settings.ini")
    data, bundle = formats.dataset(s), training.bundle(s)
    names = [c for c, k in bundle.kinds.items() if k == "number"][:PLAYERS]
    table = data.read(list(bundle.kinds), data.test[:1])
    raw = raw_inputs(table.take(np.linspace(0, len(table) - 1, ROWS + BACKGROUND).astype(int)),
                              bundle.kinds)
    x = np.column_stack([raw[c][:, 0] for c in names])
    x = np.where(np.isnan(x), np.nanmedian(x, axis=0), x).astype(np.float32)

    def predict(m):
        return run_onnx(bundle.session, {c: np.repeat(v[:1], len(m), 0) for c, v in raw.items()}
                                 | {c: m[:, i:i + 1].astype(np.float32)
                                    for i, c in enumerate(names)}).astype(float)
    return predict, names, x[:ROWS], x[ROWS:]


def ours():
    from mlsys.evaluation.explanations import coalition_values, coalitions, shapley
    predict, names, rows, background = prepared()
    inside, players = coalitions(PLAYERS), [[c] for c in names]

    def columns(x):
        return {c: x[:, i:i + 1] for i, c in enumerate(names)}

    def explain():
        return np.array([shapley(coalition_values(lambda raw: predict(np.column_stack(list(raw.values()))),
                                                  columns(r[None]), columns(background),
                                          players, inside)) for r in rows])
    return explain


def peer():
    import shap
    predict, _, rows, background = prepared()
    explainer = shap.explainers.Exact(predict,
                                      shap.maskers.Independent(background, max_samples=len(background)))

    def explain():
        return explainer(rows, silent=True).values
    difference = abs(explain() - ours()()).max()
    assert difference < 1e-5, difference
    return explain


if __name__ == "__main__":
    compare(__file__, {"ours": ours, "peer": peer}, "shapley exact", "32 rows, 9 players, 16 background rows",
            ">= 1", "ms", 1000)
