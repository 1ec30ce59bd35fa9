"""Training: two preprocessings that agree on anything, bundles that cannot be tampered with, the same bits twice, any table."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import duckdb
import numpy as np
import onnx
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import precision_recall_curve
from testing_tables import Foreign

from mlsys import core, formats, training
from mlsys.core import BadInput
from mlsys.training import encode, fit_network, load_bundle
from mlsys.training.bundles import REQUIRED, save_bundle
from mlsys.training.features import MAX_CODES, NO_TIME, Features, Rows, learn_features, raw_inputs, rows
from mlsys.training.graph import export_model, run_onnx, session
from mlsys.training.network import Recipe, export_core, probabilities
from mlsys.training.scores import MODELS, choose_threshold
from mlsys.training.splits import feature_columns, labelled, split

ROWS = 400


def mixed_table(n=ROWS):
    "Text with missing values, numbers with gaps, booleans, time, constants, many categories."
    r = np.random.default_rng(3)
    kind = r.choice(["red", "green", "blue", "ünïcødé ✈"], n)
    size = np.where(r.random(n) < 0.1, np.nan, r.normal(50, 20, n))
    y = r.random(n) < 1 / (1 + np.exp(-2.0 * (kind == "red") - np.nan_to_num(size - 50) / 20 + 1))
    return pa.table({
        "kind": pa.array([None if m else k for k, m in zip(kind, r.random(n) < 0.1, strict=False)]),
        "who": pa.array([f"person {i}" for i in r.integers(0, 300, n)]),
        "size": pa.array(size, from_pandas=True),
        "count": pa.array(r.integers(-5, 10**12, n), mask=r.random(n) < 0.05),
        "flag": pa.array(r.random(n) < 0.4),
        "same": pa.array(["x"] * n),
        "zero": pa.array(np.where(r.random(n) < 0.99, 0.0, 3.0)),
        "when": pa.array(np.datetime64("1969-11-01", "us")
                         + (np.sort(r.random(n)) * 120 * 86_400e6).astype("timedelta64[us]")),
        "y": pa.array(np.where(y, "yes", "no")),
    })


def card(folder, table, **more):
    path = folder / "mine.parquet"
    pq.write_table(table, path)
    return core.load_settings(folder / "none.ini", source=str(path), target="y", build=str(folder / "build"),
                              threads=1, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A bundle of the mixed table, the network behind it and the settings."
    s = card(tmp_path_factory.mktemp("mixed"), mixed_table(), time="when")
    data = formats.dataset(s)
    fit_table, valid_table = split(labelled(data, s, data.train))
    features = learn_features(fit_table, feature_columns(data, s), data.time)
    net, _ = fit_network(rows(fit_table, features), rows(valid_table, features), features, s, Recipe(epochs=3))
    model = export_model(export_core(net, features), features)
    return net, features, session(model.SerializeToString(), 1)


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory):
    s = card(tmp_path_factory.mktemp("bundle"), mixed_table(), time="when")
    return s, training.bundle(s)


texts = st.one_of(st.sampled_from(["", "red", "green", "blue", "ünïcødé ✈", "Red", "red ", "person 1"]),
                  st.text(max_size=30))
numbers = st.one_of(st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 3.4e38,
                                                          -3.4e38, 1e-45]))
times = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**33), 2**33),
                  st.sampled_from([NO_TIME, NO_TIME + 1, 2**63 - 1, -1, 0]))


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts, numbers, numbers, numbers, numbers, times), min_size=1, max_size=20))
@example([("", "\0", math.nan, math.inf, -math.inf, 1e30, NO_TIME), ("red", "𝒳", 0.0, 0.0, 1.0, 3.0, -1)])
def test_numpy_and_onnx_agree_on_anything(made, drawn):
    net, features, session = made
    columns = iter(zip(*drawn, strict=False))
    by_kind = {"string": [], "number": [], "time": []}
    for column, kind in zip(columns, ["string"] * 2 + ["number"] * 4 + ["time"], strict=False):
        by_kind[kind].append(column)
    as_array = {"string": lambda v: np.array(v, object), "number": lambda v: np.array(v, np.float32),
                "time": lambda v: np.array(v, np.int64)}
    raw = {c: as_array[k](by_kind[k].pop()).reshape(-1, 1) for c, k in features.kinds.items()}
    codes, floats = encode(raw, features)
    assert (codes >= 0).all() and (codes < list(features.codes.values())).all() and np.isfinite(floats).all()
    ours = probabilities(net, Rows(raw, codes, floats, np.zeros(len(codes))))
    served = run_onnx(session, raw)
    assert np.abs(ours - served).max() <= 1e-5
    table = pa.table({c: pa.array(v[:, 0].tolist(), mask=v[:, 0] == "") if v.dtype == object else v[:, 0]
                      for c, v in raw.items()})
    for more in (1,
                 20):  # few rows are looked up in Python, many in Arrow; chunks, dictionaries and nulls change nothing
        many = pa.concat_tables([table] * more)
        for c, kind in features.kinds.items():
            if kind == "string":
                many = many.set_column(many.column_names.index(c), c,
                                       many[c].cast(pa.string()).dictionary_encode())
        again = encode(many, features)
        assert np.array_equal(again[0], np.tile(codes, (more, 1))) and np.array_equal(again[1], np.tile(floats, (more, 1)))
    assert ((served >= 0) & (served <= 1)).all()


def test_what_the_table_teaches(made):
    _, features, _ = made
    assert list(features.kinds) == ["kind", "who", "size", "count", "flag", "zero",
                                    "when"]  # the constant column is gone
    assert len(features.strings["who"]) <= MAX_CODES and "" not in features.strings["kind"]
    assert features.floats[-3:] == ["size is missing", "count is missing", "hour of day"]


@examples(max_examples=100, deadline=None)
@given(st.integers(-(10**10), 10**10))
def test_time_codes_are_the_calendars(second):
    from datetime import datetime, timedelta

    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    codes, floats = encode({"t": np.array([[second]])}, Features({}, {}, "t"))
    assert codes.tolist() == [[when.weekday() + 2]] and floats[0, 0] == pytest.approx((when.hour - 11.5) / 6)


# --- threshold

answers = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2,
                   max_size=60).filter(lambda v: len({y for y, _ in v}) == 2)


@examples(max_examples=300, deadline=None)
@given(answers, st.sampled_from(["recall", "precision"]), st.floats(0.01, 0.99))
def test_threshold_is_the_best_that_keeps_the_goal(drawn, goal, at_least):
    y, p = np.array([a for a, _ in drawn], float), np.array([b / 12 for _, b in drawn], np.float32)
    got = choose_threshold(y, p, goal, at_least)
    precision, recall, thresholds = precision_recall_curve(y, p)
    this, other = (recall[:-1], precision[:-1]) if goal == "recall" else (precision[:-1], recall[:-1])
    said_yes = p >= got["threshold"]
    assert got["recall"] == pytest.approx(y[said_yes].sum() / y.sum()) and got["precision"] == pytest.approx(y[said_yes].mean())
    kept = this >= at_least
    assert got["met"] == kept.any()
    if kept.any():
        assert got[goal] >= at_least and got["precision" if goal == "recall" else "recall"] == pytest.approx(other[kept].max())
    else:
        assert got[goal] == pytest.approx(this.max())
    assert np.isclose(thresholds, got["threshold"]).any()


def test_threshold_refuses():
    for y, p in [([1, 1], [0.1, 0.2]), ([0, 1], [0.1, math.nan]), ([0, 1], [0.1])]:
        with pytest.raises(BadInput, match="a threshold needs"):
            choose_threshold(np.array(y), np.array(p), "recall", 0.5)


# --- bundle


@pytest.fixture
def copied(bundle_of, tmp_path):
    return Path(shutil.copytree(bundle_of[1].path, tmp_path / "bundle"))


def resum(folder):
    "A manifest that fits the files: what an attacker would write."
    files = {f.name: hashlib.sha256(f.read_bytes()).hexdigest()
             for f in folder.iterdir() if f.is_file() and f.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))


def refused(folder, words):
    with pytest.raises(BadInput, match=words):
        load_bundle(folder)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_changed_byte_or_a_lost_file_is_found(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    refused(copied, f"{name} was changed")
    (copied / name).unlink()
    refused(copied, f"{name} is missing")
    resum(copied)
    refused(copied, f"{name} is not in the manifest, which must list it")


def test_files_that_do_not_belong(copied, tmp_path):
    (copied / "weights.bin").write_bytes(b"\0")
    refused(copied, "weights.bin is not in the manifest")
    (copied / "weights.bin").unlink()
    (copied / "sub").mkdir()
    refused(copied, "sub is not in the manifest")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a/b", "a\\b", "C:x", ".hidden", "",
                                  "a\0b"])
def test_names_that_point_elsewhere(copied, name):
    (copied.parent / "secret").write_text("secret")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(b"secret").hexdigest()
    (copied / "manifest.json").write_text(json.dumps(manifest))
    refused(copied, "not a plain file name")


def test_a_link_is_not_followed(copied):
    content = (copied / "core.onnx").read_bytes()
    (copied.parent / "outside.onnx").write_bytes(content)
    (copied / "core.onnx").unlink()
    (copied / "core.onnx").symlink_to(copied.parent / "outside.onnx")
    refused(copied, "core.onnx is not a regular file")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": []}', "\xff"])
def test_a_manifest_that_is_none(copied, text):
    (copied / "manifest.json").write_bytes(text.encode("latin1"))
    refused(copied, "manifest")


def outside(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"


def in_initializer(model):
    outside(model.graph.initializer[0])


def in_attribute(model):
    node = next(n for n in model.graph.node if n.op_type == "LabelEncoder")
    node.attribute.append(onnx.helper.make_attribute("x", onnx.helper.make_tensor("t", 1, [1], [0.0])))
    outside(node.attribute[-1].t)


def in_inner_graph(model):
    inner = onnx.helper.make_graph([], "inner", [], [], [onnx.helper.make_tensor("t", 1, [1], [0.0])])
    outside(inner.initializer[0])
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("body", inner))


def in_function(model):
    node = onnx.helper.make_node("Constant", [], ["c"], value=onnx.helper.make_tensor("t", 1, [1], [0.0]))
    outside(node.attribute[0].t)
    model.functions.append(onnx.helper.make_function("f", "F", [], ["c"], [node],
                                                     [onnx.helper.make_opsetid("", 20)]))


@pytest.mark.parametrize("hide", [in_initializer, in_attribute, in_inner_graph, in_function])
@pytest.mark.parametrize("name", ["model.onnx", "core.onnx"])
def test_external_data_is_refused_even_with_the_right_sums(copied, hide, name):
    model = onnx.load(copied / "model.onnx", load_external_data=False)
    hide(model)
    (copied / name).write_bytes(model.SerializeToString())
    resum(copied)
    refused(copied, f"{name}: it refers to external data files")


def test_not_a_model(copied):
    (copied / "model.onnx").write_bytes(b"MZ\x90 not a model")
    resum(copied)
    refused(copied, "model.onnx: not an ONNX model")


def test_no_folder(tmp_path):
    refused(tmp_path / "nothing", "no such bundle")
    refused(tmp_path, "no readable manifest.json")


def test_bundle_is_replaced_whole(copied, monkeypatch):
    old = load_bundle(copied)

    def full(*_): raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(core.os, "replace", full)
        with pytest.raises(BadInput, match="(?i)no space left"):
            save_bundle(old.files | {"new.txt": b"x"}, copied)
    assert load_bundle(copied).digest == old.digest and [f.name for f in copied.parent.iterdir()] == ["bundle"]
    save_bundle(old.files | {"new.txt": b"x"}, copied)
    assert load_bundle(copied).digest != old.digest and [f.name for f in copied.parent.iterdir()] == ["bundle"]


def test_nothing_in_a_bundle_is_executable_or_of_this_machine(bundle_of):
    s, b = bundle_of
    assert {Path(n).suffix for n in b.files} <= {".onnx", ".json", ".md"}
    for name, content in b.files.items():
        assert str(s.home).encode() not in content and str(Path(training.__file__).parent).encode() not in content, name
        assert b"\x80\x04" not in content[:2] and b"stack_trace" not in content
    assert b.json("core.onnx".replace("core.onnx", "thresholds.json"))["goal"] == "recall"
    assert "# Model card" in b.files["MODEL_CARD.md"].decode() and b.json("versions.json")["packages"]["torch"]


# --- predict


def test_bundle_reads_any_table_that_fits(bundle_of):
    _, b = bundle_of
    table = mixed_table().drop_columns(["y", "same"])
    p = b.predict(table)
    assert p.dtype == np.float32 and p.shape == (ROWS,)
    other = table.select(table.column_names[::-1]).append_column("more", pa.array(range(ROWS)))
    i = other.column_names.index("kind")
    other = other.set_column(i, "kind", other["kind"].dictionary_encode())
    i = other.column_names.index("when")
    other = other.set_column(i, "when",
                             pa.array(table["when"].to_numpy().astype("datetime64[s]").astype(np.int64)))
    assert np.array_equal(b.predict(pa.concat_tables([other.slice(0, 100), other.slice(100)])), p)
    assert np.allclose(np.concatenate([b.predict(table.slice(k, 37)) for k in range(0, ROWS, 37)]), p,
                       atol=1e-6)
    empty = pa.table({c: pa.nulls(3) for c in b.kinds})
    assert np.isfinite(b.predict(empty)).all()


def test_the_short_way_says_what_the_graph_says(bundle_of):
    _, bundle = bundle_of
    table = mixed_table()
    graph = run_onnx(bundle.session, raw_inputs(table, bundle.kinds))
    assert np.abs(bundle.predict(table) - graph).max() <= 1e-5
    assert np.abs(np.concatenate([bundle.predict(table.slice(i, 1)) for i in range(len(table))])
                  - graph).max() <= 1e-5
    cast = {"size": pa.float32(), "count": pa.decimal128(20), "flag": pa.uint8(), "zero": pa.int64(),
            "kind": pa.large_string(), "when": pa.string()}
    other = pa.table({c: table[c].cast(cast.get(c, table[c].type)) for c in table.column_names})
    assert np.abs(bundle.predict(other) - graph).max() <= 1e-5


def nullable(table):
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(),
                                                          pa.string(): pd.StringDtype(),
                                         pa.float64(): pd.Float64Dtype()}.get)
def indexed(table): return table.to_pandas().set_index(pd.Index([f"row {i % 7}" for i in range(len(table))]))
def categorical(table): return table.to_pandas().astype({"kind": "category", "who": "category"})
def arrow_backed(table): return table.to_pandas(types_mapper=pd.ArrowDtype)
def in_tokyo(table):
    return table.to_pandas().assign(when=lambda f: f["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
def polars_frame(table): return polars.from_arrow(table)
def polars_lazy(table): return polars.from_arrow(table).lazy()
def record_batch(table): return table.combine_chunks().to_batches()[0]
def reader(table): return table.to_reader(33)
def relation(table): return duckdb.connect().from_arrow(table)
def columns(table): return {c: table[c] for c in table.column_names}


KINDS_OF_TABLES = [pa.Table.to_pandas, nullable, indexed, categorical, arrow_backed, in_tokyo, polars_frame,
                   polars_lazy, record_batch, reader,
                   relation, columns, Foreign]


@pytest.mark.parametrize("kind", KINDS_OF_TABLES, ids=lambda f: f.__name__)
def test_bundle_scores_what_people_have(bundle_of, kind):
    _, b = bundle_of
    table = mixed_table()
    assert np.array_equal(b.predict(kind(table)), b.predict(table))
    for ours, theirs in zip(encode(kind(table), b.features), encode(table, b.features), strict=True):
        assert np.array_equal(ours, theirs)
    raw, of_arrow = raw_inputs(kind(table), b.kinds), raw_inputs(table, b.kinds)
    assert all(np.array_equal(raw[c], of_arrow[c], equal_nan=k == "number") for c, k in b.kinds.items())


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.orc"])
def test_bundle_scores_a_file(bundle_of, tmp_path, name):
    _, b = bundle_of
    table = mixed_table()
    pq.write_table(table, tmp_path / "rows.parquet")
    formats.convert(tmp_path / "rows.parquet", tmp_path / name) if name != "rows.parquet" else None
    assert np.allclose(b.predict(tmp_path / name), b.predict(table), atol=1e-6)
    assert np.allclose(b.predict(str(tmp_path / name)), b.predict(table), atol=1e-6)


def test_features_are_learned_from_any_table():
    table = mixed_table()
    names = [c for c in table.column_names if c != "y"]
    of_arrow = learn_features(table, names, "when")
    for kind in (pa.Table.to_pandas, nullable, categorical, arrow_backed, polars_frame):
        assert learn_features(kind(table), names, "when") == of_arrow, kind.__name__


def test_what_is_no_table_is_said_in_one_sentence(bundle_of):
    _, b = bundle_of
    frame = mixed_table().to_pandas()
    with pytest.raises(BadInput, match="is named 7, which is not text; rename it"):
        b.predict(frame.rename(columns={"same": 7}))
    with pytest.raises(BadInput, match="two columns are named 'size'"):
        b.predict(frame.rename(columns={"zero": "size"}))
    with pytest.raises(BadInput, match="is not a table; give a pandas or polars DataFrame"):
        b.predict(frame["size"])
    with pytest.raises(BadInput, match="no column 'size'; did you mean 'sizes'"):
        b.predict(frame.rename(columns={"size": "sizes"}))


SCORING = """
import sys
import pyarrow.parquet as pq
from mlsys.training import load_bundle
bundle = load_bundle(sys.argv[1])
bundle.predict(pq.read_table(sys.argv[2]))
bundle.predict(pq.read_table(sys.argv[2]).to_pandas())
bundle.session, bundle.threshold, bundle.served
print(*sorted({m.partition(".")[0] for m in sys.modules} & {"torch", "sklearn", "scipy", "skl2onnx", "dvc", "river", "matplotlib"}))
"""


def test_scoring_a_bundle_imports_neither_torch_nor_scikit_learn(bundle_of, tmp_path):
    _, b = bundle_of
    pq.write_table(mixed_table(), tmp_path / "rows.parquet")
    env = os.environ | {"PYTHONPATH": str(Path(training.__file__).parent.parent.parent)}
    done = subprocess.run([sys.executable, "-c", SCORING, b.path, tmp_path / "rows.parquet"],
                          capture_output=True, text=True, env=env)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stdout + done.stderr


def test_the_face_is_lazy_and_whole():
    code = "import sys, mlsys.training as t; assert 'numpy' not in sys.modules; [getattr(t, n) for n in dir(t)]"
    env = os.environ | {"PYTHONPATH": str(Path(training.__file__).parent.parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_a_bundle_of_old_is_still_read(copied, bundle_of):
    """Before steps of the ladder could be chosen, a bundle did not name the one that it serves; its
    suite may be missing too."""
    measured = json.loads((copied / "metrics.json").read_text())
    del measured["served"]
    (copied / "metrics.json").write_text(json.dumps(measured))
    (copied / "suite.json").unlink(missing_ok=True)
    resum(copied)
    old = load_bundle(copied)
    assert old.served == "network" and np.array_equal(old.predict(mixed_table()), bundle_of[1].predict(mixed_table()))


def test_bundle_names_the_column_that_does_not_fit(bundle_of):
    _, b = bundle_of
    table = mixed_table()
    with pytest.raises(BadInput, match="column 'size' is missing; did you mean 'sizes'"):
        b.predict(table.rename_columns({"size": "sizes"}))
    with pytest.raises(BadInput, match="column 'count': holds text where the model needs numbers"):
        b.predict(table.set_column(3, "count", pa.array(["many"] * ROWS)))
    with pytest.raises(BadInput, match="column 'when': .*is not a time"):
        b.predict(table.set_column(7, "when", pa.array(["soon"] * ROWS)))


# --- the whole of it


def test_same_settings_same_bits(tmp_path, bundle_of):
    _, first = bundle_of
    torch.manual_seed(99)  # what happened before must not matter
    torch.rand(3)
    (tmp_path / "again").mkdir()
    s = card(tmp_path / "again", mixed_table(), time="when")
    again = training.bundle(s)
    for name in ("model.onnx", "core.onnx", "thresholds.json", "metrics.json", "MODEL_CARD.md",
                 "features.json"):
        assert again.files[name] == first.files[name], name
    other = card(tmp_path / "again", mixed_table(), time="when", seed=1, name="other")
    assert training.bundle(other).files["core.onnx"] != first.files["core.onnx"]
    assert torch.get_num_threads() >= 1 and not torch.are_deterministic_algorithms_enabled()


def check_all(s):
    "What must hold on any table."
    b, predictions = training.bundle(s), training.predictions_of(s)
    data = formats.dataset(s)
    assert predictions.column_names == ["_row", data.key, "y", *MODELS, "role"]
    frame = predictions.to_pandas()
    assert set(frame.role) == {"valid", "test"} and not frame.isna().any().any() and not frame["_row"].duplicated().any()
    assert set(frame.loc[frame.role == "test", data.key]) <= set(data.test) and set(frame.loc[frame.role == "valid", data.key]) <= set(data.train)
    table = data.read()
    at = {r: i for i, r in enumerate(table["_row"].to_pylist())}
    served = b.predict(table)[[at[r] for r in frame["_row"]]]
    assert np.allclose(served, frame["network"], atol=1e-6)
    assert all(type(t) is float for t in [b.threshold])
    return b, frame


def test_breast_cancer_without_time(tmp_path):
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    s = card(tmp_path, pa.Table.from_pandas(x.assign(y=y), preserve_index=False))
    b, frame = check_all(s)
    assert not b.features.time and b.features.codes == {"(none)": 1}
    from sklearn.metrics import roc_auc_score

    test = frame[frame.role == "test"]
    assert roc_auc_score(test.y, test.network) > 0.97


def numbers_only(t): return t.select(["size", "y"])
def texts_only(t): return t.select(["kind", "who", "y"])
def booleans_only(t): return t.select(["flag", "same", "y"])
def hundred(t): return t.slice(0, 100)
def odd_names(t):
    return t.rename_columns({"kind": "a/b c:é", "size": "core:codes", "count": "codes", "flag": "prepare:3"})
def integers_as_answer(t):
    return t.set_column(t.column_names.index("y"), "y", pa.array((np.asarray(t["y"]) == "yes").astype(int)))


@pytest.mark.parametrize("change", [numbers_only, texts_only, booleans_only, hundred, odd_names,
                                    integers_as_answer])
def test_any_table(tmp_path, change):
    table = change(mixed_table())
    check_all(card(tmp_path, table, **({"time": "when"} if "when" in table.column_names
                                       and change is not hundred else {})))


def test_what_cannot_be_learned_from(tmp_path):
    def named(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    with pytest.raises(BadInput, match="every column has the same value"):
        training.bundle(card(named("a"), mixed_table().select(["same", "y"])))
    with pytest.raises(BadInput, match="no feature is left"):
        training.bundle(card(named("b"), mixed_table().select(["same", "y"]), exclude="same"))
    with pytest.raises(BadInput, match="rename the column 'probability'"):
        training.bundle(card(named("c"), mixed_table().rename_columns({"size": "probability"})))
    with pytest.raises(BadInput, match="cells: 'colour' is not a feature"):
        training.train(card(named("d"), mixed_table(), cells="kind, colour"))


def test_leaks_and_quarantine_are_respected(tmp_path):
    s = card(tmp_path, mixed_table(), time="when")
    data = formats.dataset(s)
    folder = core.out_folder(s, "testing")
    before = labelled(data, s, data.train)
    bad = before["_row"].to_pylist()[:25]
    core.write_json(folder / "leaks.json", {"size": "gives the answer away"})
    pq.write_table(pa.table({"_row": pa.array(bad, pa.int64()), "reasons": [["odd"]] * 25}),
                   folder / "quarantine.parquet")
    (folder / "suite.json").write_text('{"rules": []}')
    after = labelled(data, s, data.train)
    assert len(after) == len(before) - 25 and not set(bad) & set(after["_row"].to_pylist())
    b = training.bundle(s)
    assert "size" not in b.kinds and b.files["suite.json"] == b'{"rules": []}'


def test_the_pipeline_does_not_train_behind_ones_back(tmp_path):
    (tmp_path / "settings.ini").write_text("[data]\nsource = flights\ntarget = late\n")
    s = core.load_settings(tmp_path / "settings.ini")
    for ask in (training.bundle, training.predictions_of):
        with pytest.raises(BadInput, match="run `mlsys run 06_training`"):
            ask(s)
