"""Events per second of online learning, an event being one prediction and one learned label: ours against river and partial_fit.

Every side is a process of its own with fixed threads, timed in turn, on the same encoded rows of the flights (8 codes, 33 numbers). The
peers get their favourite form of the features before the clock starts: river its dictionaries, scikit-learn its sparse matrix.
"""
import json
import statistics
import sys
from pathlib import Path

from sides import Side, serve

ROOT, ROWS, RIVER_ROWS, BATCH, REPEATS = Path(__file__).parent.parent, 65_536, 4_096, 256, 7


def rows(n):
    "The first labelled rows of the year, each label known at once."
    import numpy as np

    from mlsys import core, online
    stream, features = online.open_stream(core.load_settings(ROOT / "settings.ini"))
    return stream.take(np.flatnonzero(~np.isnan(stream.y))[:n]), features


def batches(n):
    return [slice(i, i + BATCH) for i in range(0, n, BATCH)]


def ours(name, **choices):
    "A learner of the chapter: predict a batch, learn a batch."
    from mlsys import online
    x, features = rows(ROWS)

    def run():
        learner = online.LEARNERS[name](features, **choices)
        for at in batches(len(x)):
            learner.predict(x.codes[at], x.floats[at])
            learner.learn(x.codes[at], x.floats[at], x.y[at])
    return run


def partial_fit():
    "scikit-learn's SGDClassifier on slices of a matrix that exists already."
    from sklearn.linear_model import SGDClassifier

    from mlsys.training.ladder import one_hot
    x, features = rows(ROWS)
    matrix, y = one_hot(x, features), x.y.astype(int)
    parts = [(matrix[at], y[at]) for at in batches(len(x))]

    def run():
        model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.003, shuffle=False)
        model.partial_fit(*parts[0], classes=[0, 1])
        for part, labels in parts:
            model.predict_proba(part)
            model.partial_fit(part, labels)
    return run


def river(scaled):
    """river's logistic regression on dictionaries that exist already; with its scaler in front, as in
    its own documentation, or without."""
    from river import linear_model, optim, preprocessing

    from mlsys.online import learners
    x, features = rows(RIVER_ROWS)
    events = list(zip(learners.RiverLogistic(features).rows(x.codes, x.floats), (x.y == 1).tolist(),
                      strict=True))

    def run():
        model = linear_model.LogisticRegression(optim.AdaGrad(0.1))
        if scaled:
            model = preprocessing.StandardScaler() | model
        for row, label in events:
            model.predict_proba_one(row)
            model.learn_one(row, label)
    return run


SIDES = {
    "linear": lambda: ours("linear", rate=0.1, memory=10_000), "network": lambda: ours("network"),
         "partial_fit": partial_fit,
    "river": lambda: river(False), "river pipeline": lambda: river(True),
}


def main():
    if len(sys.argv) > 1:
        if sys.argv[1] == "network":
            import torch
            torch.set_num_threads(1)  # the batches are small: a second thread only waits
        return serve(SIDES[sys.argv[1]]())
    sides = {name: Side(__file__, name) for name in SIDES}
    for side in sides.values():
        side.once()
    events = {name: RIVER_ROWS if "river" in name else ROWS for name in SIDES}
    times = {name: [] for name in SIDES}
    for _ in range(REPEATS):
        for name, side in sides.items():
            times[name].append(side.once() / events[name])
    for side in sides.values():
        side.close()

    def line(name, what, mine, peer, target):
        a, b = (1 / statistics.median(times[n]) for n in (mine, peer))
        ratio = statistics.median(p / o for o, p in zip(times[mine], times[peer], strict=True))
        print(json.dumps(dict(name=name, what=what, ours=a, peer=b, ratio=ratio, target=target,
                              unit="events/s")))
    line("online_vs_river", "logistic regression, batches of 256, against river's on ready dictionaries",
         "linear", "river", "> 5")
    line("online_vs_river_pipeline", "the same against river's scaler and logistic regression", "linear",
         "river pipeline", "> 5")
    line("online_vs_partial_fit", "the same against scikit-learn's partial_fit on a ready sparse matrix",
         "linear", "partial_fit", "> 0.67")
    line("online_network_vs_river", "the network, batches of 256, against river's logistic regression",
         "network", "river", "")


if __name__ == "__main__":
    main()
