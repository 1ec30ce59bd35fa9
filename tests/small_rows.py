"""Small rows with something to learn, for tests of the network; light to import."""

import numpy as np

from mlsys import core
from mlsys.training import Features, Recipe
from mlsys.training.features import Rows

FEATURES = Features({"a": ["x", "y", "z"]}, {"u": {"flag": False}, "v": {"flag": False}})
ONE = core.Settings(run=core.Run(threads=1))


def some_rows(n, seed):
    "Rows with something to learn."
    r = np.random.default_rng(seed)
    codes, floats = r.integers(0, 5, (n, 1)), r.normal(size=(n, 2)).astype(np.float32)
    y = (r.random(n) < 1 / (1 + np.exp(1.5 - floats[:, 0] - (codes[:, 0] == 3)))).astype(float)
    return Rows({}, codes, floats, y)


FIT, VALID = some_rows(3000, 1), some_rows(1000, 2)
SHORT = Recipe(width=16, epochs=3, patience=3)
