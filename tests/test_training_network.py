"""Training, second half: killed and resumed to the same bits, losses, trees that decide alike, what is served, the search, the curve."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from small_rows import FEATURES, FIT, ONE, SHORT, VALID, some_rows
from test_training import ROWS, card, mixed_table

from mlsys import core, training
from mlsys.core import BadInput
from mlsys.training import Recipe, calibrated, delivery, fit_network, fitting, prepare, tuning
from mlsys.training.calibration import platt
from mlsys.training.fitting import checked_weights
from mlsys.training.graph import OPSETS, served_by_onnx, session
from mlsys.training.ladder import KINDS, trees_node
from mlsys.training.network import export_core, probabilities, row_loss
from mlsys.training.scores import auc, auc_lead, redrawn_auc, soft_scores

# --- killed

SCRIPT = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import safetensors.torch
from mlsys.training import Recipe, fit_network
from small_rows import FEATURES, ONE, FIT, VALID

checkpoint, final, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recipe = Recipe(width=16, epochs=40, patience=40, batch=64)

def learn():
    net, history = fit_network(FIT, VALID, FEATURES, ONE, recipe, checkpoint=checkpoint if kills else None)
    final.write_bytes(safetensors.torch.save(net.state_dict()))
    history.to_json(final.with_suffix(".json"), double_precision=15)

def written(): return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

random.seed(int(sys.argv[4]))
for kill in range(kills):
    before, child, ended = written(), os.fork(), 0
    if not child:
        learn()
        os._exit(0)  # it was not killed: earlier ones had left it nothing to do
    while written() == before and not ended:
        ended = os.waitpid(child, os.WNOHANG)[0]
        time.sleep(0.002)
    if not ended:
        time.sleep(random.random() * 0.1)  # anywhere in the next epochs, also while a checkpoint is written
        os.kill(child, signal.SIGKILL)
        print(os.waitpid(child, 0)[1])
learn()
"""


def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path):
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for final, kills in ((whole, 0), (resumed, 4)):
        arguments = [sys.executable, "-c", script, tmp_path / "c.safetensors", final, str(kills),
                     str(os.getpid())]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("9") >= 2, done.stdout  # died of signal 9, in the middle of it
    assert whole.read_bytes() == resumed.read_bytes()
    assert whole.with_suffix(".json").read_text() == resumed.with_suffix(".json").read_text()


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    fit_network(FIT, VALID, FEATURES, ONE, replace(SHORT, epochs=1), checkpoint=path)
    before = path.read_bytes()

    def full(*_): raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(core.os, "replace", full)
        with pytest.raises(BadInput, match="(?i)no space left"):
            fit_network(FIT, VALID, FEATURES, ONE, SHORT, checkpoint=path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    assert b"pickle" not in before and before[8:9] == b"{"  # safetensors: a length, then JSON, then numbers


@pytest.mark.parametrize("changed, what", [
    (dict(recipe=replace(SHORT, dropout=0.4)), "settings"),
                                           (dict(s=core.Settings(run=core.Run(threads=1, seed=1))),
                                            "settings"),
    (dict(fit=some_rows(3000, 5)), "data"), (dict(weights=np.arange(3000.0)), "data"),
                                           (dict(valid=some_rows(1000, 1)), "data")])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, changed, what):
    path = tmp_path / "c.safetensors"
    asked = dict(fit=FIT, valid=VALID, features=FEATURES, s=ONE, recipe=replace(SHORT, epochs=1),
                 checkpoint=path)
    fit_network(**asked)
    with pytest.raises(BadInput, match=f"belongs to other {what}; go back to those, or delete it"):
        fit_network(**asked | changed)


def test_a_checkpoint_of_other_code_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    fit_network(FIT, VALID, FEATURES, ONE, replace(SHORT, epochs=1), checkpoint=path)
    original = fitting.first_state
    monkeypatch.setattr(fitting, "first_state", lambda features, recipe: original(features, recipe))
    with pytest.raises(BadInput, match="belongs to other code"):
        fit_network(FIT, VALID, FEATURES, ONE, SHORT, checkpoint=path)


@pytest.mark.parametrize("cut", [0, 7, 100, 5000])
def test_half_a_checkpoint_is_refused(tmp_path, cut):
    path = tmp_path / "c.safetensors"
    fit_network(FIT, VALID, FEATURES, ONE, replace(SHORT, epochs=1), checkpoint=path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInput, match="c.safetensors: not a readable checkpoint; delete it"):
        fit_network(FIT, VALID, FEATURES, ONE, SHORT, checkpoint=path)


# --- losses


@examples(max_examples=200, deadline=None)
@given(st.floats(-30, 30), st.sampled_from([0.0, 1.0, 0.3]), st.floats(0.1, 10),
       st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
def test_the_loss_is_the_formula_and_its_slope_is_finite(z, y, positive, gamma):
    x = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    got = row_loss(x, torch.tensor([y], dtype=torch.float64), positive, gamma)
    p = 1 / (1 + math.exp(-z))
    plain = y * math.log1p(math.exp(-z)) + (1 - y) * (math.log1p(math.exp(z)))
    want = (1 + (positive - 1) * y) * max(abs(y - p), 1e-6) ** gamma * plain
    assert got.item() == pytest.approx(want, rel=1e-6, abs=1e-9)
    got.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_a_weight_leaves_the_scores_calibrated():
    recipe = Recipe(width=16, epochs=8, patience=8)
    plain, weighted = (probabilities(fit_network(FIT, VALID, FEATURES, ONE, r)[0], VALID) for r in (recipe, replace(recipe, positive=8.0)))
    learned = 8 * weighted / (1 + 7 * weighted)  # what it would say without the shift
    assert abs(weighted.mean() - VALID.y.mean()) < 0.05 < learned.mean() - VALID.y.mean()
    assert log_loss(VALID.y, weighted) < log_loss(VALID.y, plain) + 0.02 < log_loss(VALID.y, learned)


def test_weights_choose_the_rows_that_count():
    "Rows of weight zero do not matter, and only ratios of weights do."
    keep = np.arange(len(FIT)) % 2 == 0
    nonsense = replace(FIT, y=np.where(keep, FIT.y, 1 - FIT.y))
    net, _ = fit_network(nonsense, VALID, FEATURES, ONE, replace(SHORT, epochs=8), weights=keep * 1.0)
    fooled, _ = fit_network(nonsense, VALID, FEATURES, ONE, replace(SHORT, epochs=8))
    assert roc_auc_score(VALID.y, probabilities(net, VALID)) > 0.68 > roc_auc_score(VALID.y,
                                                                                    probabilities(fooled,
                                                                                                  VALID))
    assert np.array_equal(checked_weights(keep * 1.0, len(FIT)), checked_weights(keep * 4.0, len(FIT)))


@pytest.mark.parametrize("weights, words", [
    (np.ones(7), "3000 rows to fit need as many weights"), (np.full(3000, np.nan), "row 0 weighs nan"),
                                            (np.zeros(3000), "sum to zero"),
    (np.r_[np.ones(2999), -1e-9], "row 2999 weighs -1e-09"),
                                            (np.r_[np.inf, np.ones(2999)], "row 0 weighs inf"),
    (np.ones((3000, 1)), "as many weights")])
def test_weights_that_make_no_sense(weights, words):
    with pytest.raises(BadInput, match=words):
        fit_network(FIT, VALID, FEATURES, ONE, SHORT, weights=weights)


@pytest.mark.parametrize("change, words", [
    (dict(fit=replace(FIT, y=np.where(np.arange(3000) == 17, np.nan, FIT.y))),
     "rows to fit: row 17 has the label nan"),
    (dict(valid=replace(VALID, y=VALID.y * 2)), "validation rows: row .* has the label 2.0"),
    (dict(fit=replace(FIT, y=np.ones(3000))), "must each hold both classes"),
    (dict(valid=replace(VALID, y=np.zeros(1000))), "must each hold both classes"),
    (dict(recipe=replace(SHORT, rate=1e9, epochs=6)), "diverged in epoch .*lower the recipe's rate")])
def test_rows_that_nothing_can_be_learned_from(change, words):
    with pytest.raises(BadInput, match=words):
        fit_network(**dict(fit=FIT, valid=VALID, features=FEATURES, s=ONE, recipe=SHORT) | change)


@pytest.mark.parametrize("positive", [1.0, 4.0])
def test_calibration_mends_the_scores_and_keeps_the_order(positive):
    net, _ = fit_network(FIT, VALID, FEATURES, ONE, replace(SHORT, positive=positive))
    with torch.no_grad():
        net.layers[-1].bias += 1.5  # far too high for everyone
        net.layers[-1].weight *= 0.5
    before = probabilities(net, VALID)
    after = probabilities(calibrated(net, VALID), VALID)
    assert np.array_equal(probabilities(net, VALID), before)  # a copy was changed
    curve = platt(VALID.y, before)
    odds = np.log(before / (1 - before))
    assert np.abs(after - 1 / (1 + np.exp(-(curve.scale * odds + curve.shift)))).max() < 1e-5
    assert abs(after.mean() - VALID.y.mean()) < 1e-3 < before.mean() - VALID.y.mean()
    assert abs(soft_scores(VALID.y, after)[1] - soft_scores(VALID.y, before)[1]) < 1e-3
    core = served_by_onnx(export_core(calibrated(net, VALID), FEATURES), 1)
    assert np.abs(core(VALID) - after).max() < 1e-6


# --- trees


@pytest.fixture(scope="module")
def trees():
    r = np.random.default_rng(0)
    x = np.r_[r.normal(size=(2000, 3)), r.normal(size=(2000, 3)) * 1e-3
              + 1e4].astype(np.float32)  # neighbours that 32 bits hardly tell apart
    y = (x[:, 0] * 1e3 % 1 + r.normal(size=4000) > 0.5).astype(int)
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(x, y)
    graph = trees_node(model)
    g = onnx.helper.make_graph([graph], "t", [onnx.helper.make_tensor_value_info("x", 1, [None, 3])],
                               [onnx.helper.make_tensor_value_info(graph.output[1], 1, [None, 2])])
    graph.input[:] = ["x"]
    made = onnx.helper.make_model(g, opset_imports=OPSETS, ir_version=10)
    return model, session(made.SerializeToString(), 1)


def test_trees_decide_alike_on_both_sides_of_every_threshold(trees):
    model, session = trees
    nodes = np.concatenate([t.nodes for (t,) in model._predictors])
    nodes = nodes[nodes["is_leaf"] == 0]
    near = nodes["num_threshold"].astype(np.float32)
    assert (near > nodes["num_threshold"]).any()  # to the nearest would be wrong here
    x = np.zeros((3 * len(nodes), 3), np.float32)
    for k, value in enumerate((near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)))):
        at = np.arange(len(nodes)) + k * len(nodes)
        x[at] = np.where(np.arange(3) == nodes["feature_idx"][:, None], value[:, None], 1e4)
    assert np.abs(session.run(None, {"x": x})[0][:, 1] - model.predict_proba(x)[:, 1]).max() < 1e-5


@examples(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False)] * 3), min_size=1, max_size=10))
def test_trees_agree_on_anything(trees, drawn):
    model, session = trees
    x = np.array(drawn, np.float32)
    assert np.abs(session.run(None, {"x": x})[0][:, 1] - model.predict_proba(x)[:, 1]).max() < 1e-5


# --- what is served


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return card(tmp_path_factory.mktemp("served"), mixed_table(), time="when")


@pytest.mark.parametrize("served", ["logistic", "boosting", "network", "best"])
def test_any_step_can_be_served(mixed, served):
    path = training.train(mixed, served=served)
    bundle = training.load_bundle(path / "bundle")
    assert bundle.served in ([served] if served != "best" else list(KINDS))
    assert f"served here: {bundle.served}" in bundle.files["MODEL_CARD.md"].decode()
    table = mixed_table()
    predictions = training.predictions_of(mixed)
    assert np.allclose(bundle.predict(table)[predictions["_row"].to_numpy()],
                       predictions[bundle.served].to_numpy(), atol=1e-6)
    core_session, ready = session(bundle.files["core.onnx"], 1), prepare(mixed)  # every core takes the same inputs
    said = core_session.run(["probability"], {"codes": ready.valid.codes, "floats": ready.valid.floats})[0]
    assert said.shape == (len(ready.valid), 1)
    assert np.allclose(said[:, 0], predictions.filter(pc.equal(predictions["role"],
                                                               "valid"))[bundle.served].to_numpy(), atol=1e-5)
    assert {Path(n).suffix for n in bundle.files} <= {".onnx", ".json", ".md"}


def test_a_first_system_is_there_before_the_rest_is_tried(tmp_path, monkeypatch):
    s = card(tmp_path, mixed_table(), time="when")

    def broken(*_): raise RuntimeError("the better model failed")

    monkeypatch.setattr(delivery, "fit_boosting", broken)
    with pytest.raises(RuntimeError):
        training.train(s)
    assert training.load_bundle(core.folder(s, "training") / "bundle").served == "logistic"
    assert training.load_bundle(core.folder(s, "training") / "bundle").predict(mixed_table()).shape == (ROWS,)


def test_served_is_a_step_of_the_ladder(mixed):
    with pytest.raises(BadInput, match="served = 'rate': no such step"):
        training.train(mixed, served="rate")


# --- search


def test_a_small_search_from_end_to_end(tmp_path, monkeypatch):
    s = card(tmp_path, mixed_table(), time="when")
    trials = training.search(s, 500, space=dict(width=(8, 16)), recipe=Recipe(width=8, epochs=4),
                             rungs=((1, 0.5), (None, 1.0)))
    assert trials.rung.tolist() == [0, 0, 1] and set(trials.width[:2]) == {8, 16} and trials.epochs.tolist() == [1, 1, 4]
    assert trials.width[2] == trials.width[trials.valid[:2].idxmin()] and trials.valid[2] <= trials.valid[:2].min()
    assert trials["at"].is_monotonic_increasing and trials.epoch[2] >= 1
    folder = core.folder(s, "training") / "search"
    import dvc.api
    experiments = {e["Experiment"]: e for e in dvc.api.exp_show(str(folder)) if e["Experiment"]}
    assert set(experiments) == {"rung0-0", "rung0-1", "rung1-0"} and experiments["rung1-0"]["valid"] == pytest.approx(trials.valid[2])
    found = tuning.best_recipe(trials, Recipe(epochs=4))
    assert found == Recipe(width=int(trials.width[2]), epochs=4)
    ready = prepare(s)  # the trial was a training like any other: its loss can be had again
    _, history = fit_network(ready.fit, ready.valid, ready.features, s, replace(found, epochs=4))
    assert history.valid.min() == trials.valid[2]
    assert len(list((folder
                     / "checkpoints").iterdir())) == 2  # of three trials, one went on where another had stopped
    _, ax = training_axes()
    tuning.draw_search(ax, trials)
    assert len(ax.get_legend().texts) == 3


def training_axes():
    import matplotlib.pyplot as plt
    return plt.subplots()


def test_a_search_keeps_its_budget(tmp_path, monkeypatch):
    s = card(tmp_path, mixed_table(), time="when")
    def taking(seconds):
        return lambda folder, name, recipe: dict(valid=1 / recipe.width, auc=0.5, epoch=1, fit_seconds=0.0, seconds=seconds)

    monkeypatch.setattr(tuning, "run_trial", taking(1e6))
    assert len(training.search(s, 10)) == 1  # what would not end in time is not begun; the first always is
    monkeypatch.setattr(tuning, "run_trial", taking(0.0))
    trials = training.search(s, 500, space=dict(width=(8, 16, 32, 64, 128, 256, 512, 1024, 2048)))
    assert trials.groupby("rung").size().tolist() == [9, 3, 1] and trials.width.iloc[-1] == 2048
    for seconds, words in ((0, "a budget of 0 seconds"), (math.nan, "a budget of nan"), (1e9, "more than .constraints. budget_per_month")):
        with pytest.raises(BadInput, match=words):
            training.search(s, seconds)


# --- the curve

CURVE = """
from mlsys.training import fit_network
from small_rows import FIT, VALID, FEATURES, ONE, SHORT
_ = fit_network(FIT, VALID, FEATURES, ONE, SHORT)
"""


@pytest.mark.parametrize("opened", [True, False])
def test_in_jupyter_one_figure_stays_and_elsewhere_none(opened, monkeypatch):
    import nbformat
    from nbclient import NotebookClient
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent),
                                                      str(Path(training.__file__).parent.parent.parent)]))
    monkeypatch.setenv("JPY_SESSION_NAME", "06_training.ipynb") if opened else monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CURVE)])
    NotebookClient(nb, timeout=120, kernel_name="python3").execute()
    outputs = nb.cells[0].outputs
    assert [o.output_type for o in outputs] == (["display_data"] if opened else [])
    assert all("image/png" in o.data for o in outputs)


def test_in_a_terminal_a_bar_with_a_curve():
    import pty
    ours, theirs = pty.openpty()
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(training.__file__).parent.parent.parent)])
    env = os.environ | {"PYTHONPATH": paths, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", CURVE], stderr=theirs, env=env)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux's way to say that the other side has closed
        assert process.wait() == 0
    assert process.wait() == 0
    assert "training the network" in said.decode() and "█" in said.decode() and "3/3" in said.decode()


# --- intervals


@examples(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=4, max_size=50),
       st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_auc_of_redrawn_blocks_is_scikit_learns_weighted_one(drawn, counts):
    y, p, block = (np.array(c) for c in zip(*drawn, strict=True))
    weight = np.array(counts)[block]
    if len(np.unique(y[weight > 0])) == 2:
        got = redrawn_auc(y, p / 7, block, np.array([counts]))
        assert got[0] == pytest.approx(roc_auc_score(y, p, sample_weight=weight))


@examples(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=50))
def test_the_auc_is_scikit_learns_with_ties_and_weights(drawn):
    y, p, weight = (np.array(c) for c in zip(*drawn, strict=True))
    got = auc(y, p / 7, weight)
    if len(np.unique(y[weight > 0])) == 2:
        assert got == pytest.approx(roc_auc_score(y, p, sample_weight=weight), abs=1e-12)
        soft = y * 0.5 + 0.25  # each row a yes and a no that share its weight
        twice = roc_auc_score(np.r_[np.ones(len(y)), np.zeros(len(y))], np.r_[p, p],
                              sample_weight=np.r_[soft * weight, (1 - soft) * weight])
        assert auc(soft, p, weight) == pytest.approx(twice, abs=1e-12)
    else:
        assert math.isnan(got)


def test_a_month_of_one_class_does_not_spoil_the_interval():
    import pyarrow as pa
    r = np.random.default_rng(0)
    n = 3000
    y, month = r.random(n) < 0.3, np.repeat(["1", "2", "3"], n // 3)
    y[month == "2"] = False
    good, bad = y + r.normal(size=n), y + 3 * r.normal(size=n)
    table = pa.table(dict(month=month, y=y.astype(float), a=good, b=bad, role=["test"] * n))
    lead, low, high = auc_lead(table, np.arange(n) % 20, "month", "a", "b")
    assert 0 < low < lead < high and lead == pytest.approx(np.mean([roc_auc_score(y[month == m], good[month == m]) - roc_auc_score(
        y[month == m], bad[month == m]) for m in "13"]))
    assert auc_lead(table, np.arange(n) % 20, "month", "a", "a")[:3] == (0, 0, 0)
    assert math.isnan(auc_lead(table.filter(pc.equal(table["month"], "2")), np.zeros(n // 3, int), "month",
                               "a", "b")[0])


def test_the_metrics_name_what_is_served(mixed):
    training.train(mixed, served="logistic")
    bundle = training.load_bundle(core.folder(mixed, "training") / "bundle")
    assert json.loads(bundle.files["metrics.json"])["served"] == "logistic"
