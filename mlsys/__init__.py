"""The literate toolkit for machine-learning systems: one book that runs.

    import mlsys
    suite = mlsys.testing.learn(good)           # a DataFrame, an Arrow table or a path
    verdicts = suite.check(new)                 # verdicts.bad_rows is again of the kind that was given
    model = mlsys.load("build/training/bundle")
    chances = model.predict(new)

Every chapter is a module that is loaded when it is first used."""
import pkgutil

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=[m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")])


def load(
    bundle,  # folder of a bundle, as training wrote it
):
    "A model that predicts from raw columns: see `mlsys.training.load_bundle`."
    from .training import load_bundle

    return load_bundle(bundle)
