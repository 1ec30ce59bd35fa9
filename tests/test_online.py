"""Online learning: no label is used before it is known, every learner keeps the promises of the interface, detectors equal river's."""
import json
import math
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from river import drift

from mlsys import core, formats, online, training
from mlsys.core import BadInput
from mlsys.online import LEARNERS, Linear, Queue, Stream, comparison, learners, progressive
from mlsys.online import stream as streams
from mlsys.online.detectors import PageHinkley
from mlsys.online.learners import conforms
from mlsys.online.stream import DAY, NEVER, check_stream, plan
from mlsys.training.ladder import one_hot

FEATURES = training.Features({"word": ["a", "b", "c"], "other": ["x", "y"]},
                             {"n": dict(flag=False), "m": dict(flag=False)})


def make_stream(n, seed=0, delay=50, share=0.9):
    "A learnable stream in seconds, with labels that come late or never."
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, 5, n), rng.integers(0, 4, n)])
    floats = rng.normal(size=(n, 2)).astype(np.float32)
    y = (floats[:, 0] + (codes[:, 0] == 2) + rng.normal(size=n) > 0.5).astype(float)
    asked = np.sort(rng.integers(0, 10 * n, n))
    known = np.where(rng.random(n) < share, asked + rng.integers(0, delay + 1, n), NEVER)
    return check_stream(Stream(codes, floats, np.where(known == NEVER, np.nan, y), asked, known,
                               np.full(n, "1"), np.arange(n)))


def changed(x, **columns):
    return Stream(**vars(x) | columns)


# ---- the time of a label

def flights(*rows):
    frame = pd.DataFrame(rows, columns=["time_hour", "minute", "dep_time", "dep_delay", "arr_time", "dest"])
    return frame.assign(time_hour=pd.to_datetime(frame.time_hour, utc=True))


@pytest.mark.parametrize("row, landed", [
    (("2013-01-02 13:00", 0, 800.0, 0.0, 1100.0, "LAX"),
     "2013-01-02 19:00"),      # three hours by the clock are six
    (("2013-01-03 04:00", 30, 2330.0, 0.0, 235.0, "LAX"), "2013-01-03 10:35"),     # lands the next day
    (("2013-01-03 04:00", 59, 2359.0, 0.0, 430.0, "SJU"),
     "2013-01-03 08:30"),     # not in the table of airports; an hour ahead in winter
    (("2013-07-03 03:00", 59, 2359.0, 0.0, 330.0, "SJU"), "2013-07-03 07:30"),     # and level in summer
    (("2013-07-01 14:00", 0, 1000.0, 0.0, 1200.0, "PHX"),
     "2013-07-01 19:00"),     # no daylight saving time there
    (("2013-01-01 15:00", 0, 1000.0, 0.0, 1300.0, "PHX"), "2013-01-01 20:00"),
    (("2013-01-01 14:00", 0, 900.0, 0.0, 1500.0, "HNL"), "2013-01-02 01:00"),      # eleven hours
    (("2013-01-02 03:00", 0, 2300.0, 60.0, 2400.0, "ORD"), "2013-01-02 06:00"),    # 2400 is midnight
    (("2013-01-02 03:00", 0, 30.0, 150.0, 145.0, "BOS"),
     "2013-01-02 06:45"),      # two and a half hours late, after midnight
    (("2013-01-02 13:05", 5, 755.0, -10.0, 902.0, "BOS"), "2013-01-02 14:02"),     # left early
])
def test_landing_by_the_clocks_of_two_zones(row, landed):
    row = (str(pd.Timestamp(row[0]).floor("h")), *row[1:])
    asked, known = streams.flight_times(flights(row))
    assert asked[0] == pd.Timestamp(row[0]).timestamp() + 60 * row[1]
    assert known[0] == pd.Timestamp(landed).timestamp()


def test_a_cancelled_flight_has_no_label_ever():
    _, known = streams.flight_times(flights(("2013-01-02 13:00", 0, np.nan, np.nan, np.nan, "LAX")))
    assert known[0] == NEVER


# ---- the order of events

times = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30) | st.none()), min_size=1, max_size=60)


def drawn_stream(drawn):
    asked = np.sort([a for a, _ in drawn])
    known = np.array([NEVER if d is None else a + d for a, (_, d) in zip(asked, drawn, strict=True)])
    y, n = np.where(known == NEVER, np.nan, np.arange(len(drawn)) % 2), len(drawn)
    return check_stream(Stream(np.arange(n)[:, None], np.zeros((n, 1), np.float32), y, asked, known,
                               np.full(n, "1"), np.arange(n)))


@examples(max_examples=300, deadline=None)
@given(times, st.integers(1, 7))
def test_each_row_is_predicted_once_and_learned_once_and_never_before_its_label_is_known(drawn, batch):
    x = drawn_stream(drawn)
    steps, latest = plan(x, batch), -1
    predicted = [i for first, last, _ in steps for i in range(first, last)]
    learned = np.concatenate([rows for _, _, rows in steps])
    assert predicted == list(range(len(x))) and sorted(learned) == np.flatnonzero(x.known < NEVER).tolist()
    for first, last, rows in steps:
        assert last == first or x.asked[first] > latest             # what was learned so far was known before these were asked
        latest = max(latest, x.known[rows].max(initial=-1))
        assert all(r < last for r in rows) and len(rows) <= batch  # predicted, and thereby scored, before it is learned
    assert (np.diff(x.known[learned]) >= 0).all()


class Memory:
    "Tells which labels it was given."
    def __init__(self):
        self.rows = set()

    def predict(self, codes, floats):
        return np.full(len(codes), float(len(self.rows)))

    def learn(self, codes, floats, y):
        assert not self.rows & set(codes[:, 0].tolist())
        self.rows |= set(codes[:, 0].tolist())


@examples(max_examples=200, deadline=None)
@given(times, st.integers(1, 7))
def test_the_plan_equals_the_queue_event_by_event(drawn, batch):
    x = drawn_stream(drawn)
    queue, learner, said = Queue(batch), Memory(), {}

    def learn(pairs):
        rows = np.array([r for r, _ in pairs], int)
        learner.learn(x.codes[rows], x.floats[rows], np.array([y for _, y in pairs]))
    events = [(t, 0, i) for i, t in enumerate(x.asked)] + [(t, 1, i) for i, t in enumerate(x.known) if t < NEVER]
    for now, kind, i in sorted(events):
        if kind == 0:
            said[i] = learner.predict(x.codes[[i]], x.floats[[i]])[0]
            queue.ask(i, now)
        elif ready := queue.answer(i, x.y[i], now):
            learn(ready)
    learn(queue.rest())
    fast, other = Memory(), None
    other, _ = progressive(x, fast, batch)
    assert [said[i] for i in range(len(x))] == other.tolist() and fast.rows == learner.rows
    assert set(queue.waiting) == set(np.flatnonzero(x.known == NEVER))


def test_an_oracle_gains_only_from_labels_that_were_known_in_time():
    n, rng = 500, np.random.default_rng(1)
    first, gap, delay = np.sort(rng.integers(0, 5000, n)), rng.integers(1, 300, n), rng.integers(0, 300, n)
    key, asked = np.r_[np.arange(n), np.arange(n)], np.r_[first, first + gap]
    label = rng.integers(0, 2, n).astype(float)
    order = np.argsort(asked, kind="stable")
    x = check_stream(Stream(key[order][:, None], np.zeros((2 * n, 1), np.float32), label[key][order],
                            asked[order], (asked + delay[key])[order],
                            np.full(2 * n, "1"), np.arange(2 * n)[order]))

    class Oracle:
        def __init__(self): self.seen = {}
        def predict(self, codes, floats): return np.array([self.seen.get(k, 0.5) for k in codes[:, 0]])
        def learn(self, codes, floats, y): self.seen.update(zip(codes[:, 0], y, strict=True))
    said, _ = progressive(x, Oracle(), batch=1)
    twin = x.row >= n
    in_time = twin & (delay[x.codes[:, 0]] < gap[x.codes[:, 0]])
    assert in_time.sum() > 100 and (twin & ~in_time).sum() > 100
    assert np.array_equal(said[in_time], x.y[in_time]) and (said[~in_time] == 0.5).all()


def test_labels_that_never_come_leave_everything_predicted_and_nothing_learned():
    x = make_stream(40, share=0.0)
    p, _ = progressive(x, Linear(FEATURES), 8)
    assert (p == 0.5).all() and [len(r) for _, _, r in plan(x, 8)] == [0]
    assert math.isnan(comparison.auc_of(x.y, p)) and math.isnan(comparison.loss_of(x.y, p))


# ---- the queue's refusals

def test_the_queue_refuses_each_mistake_with_one_sentence():
    queue = Queue(batch=1, patience=50)
    queue.ask(1, 0)
    for mistake, words in [(lambda: queue.ask(1, 1), "row 1 was asked at 0 and waits"),
                           (lambda: queue.answer(2, 1, 1), "row 2: a label for a row that does not"),
                           (lambda: queue.ask(3, -1), "runs backwards"),
                           (lambda: queue.answer(1, 0.5, 1), "the label is 0.5"),
                           (lambda: queue.answer(1, math.nan, 1), "the label is nan"),
                           (lambda: queue.ask(3, math.nan), "runs backwards")]:
        with pytest.raises(BadInput, match=words) as e:
            mistake()
        assert "\n" not in str(e.value)
    assert queue.answer(1, 1, 2) == [(1, 1)]
    with pytest.raises(BadInput, match="does not wait"):
        queue.answer(1, 1, 3)
    queue.ask(5, 10)
    queue.ask(6, 61)
    assert queue.given_up == 1
    with pytest.raises(BadInput, match="given up"):
        queue.answer(5, 1, 62)  # too late


@pytest.mark.parametrize("change, words", [
    (lambda x: dict(asked=x.asked[::-1].copy(), known=np.full(len(x), NEVER), y=np.full(len(x), np.nan)),
     "the clock runs backwards"),
    (lambda x: dict(known=x.asked - 1, y=np.ones(len(x))), "before it is asked"),
    (lambda x: dict(row=np.where(np.arange(len(x)) == 7, 3, x.row)), "row 3 comes twice"),
    (lambda x: dict(floats=np.where(np.arange(len(x))[:, None] == 4, np.nan, x.floats)),
     "row 4 holds a feature that is not a finite"),
    (lambda x: dict(floats=np.where(np.arange(len(x))[:, None] == 4, np.inf, x.floats)),
     "row 4 holds a feature that is not a finite"),
    (lambda x: dict(y=np.where(np.isnan(x.y), x.y, 2.0)), "other than 0 and 1"),
    (lambda x: dict(y=np.full(len(x), np.nan)), "a time without a label"),
    (lambda x: dict(known=np.full(len(x), NEVER)), "a label without a time"),
])
def test_a_stream_that_cannot_be_replayed_is_refused(change, words):
    x = make_stream(30)
    with pytest.raises(BadInput, match=words) as e:
        check_stream(changed(x, **change(x)))
    assert "\n" not in str(e.value)


# ---- learners

@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_conforms(name):
    x = make_stream(400, share=1.0)
    conforms(lambda: LEARNERS[name](FEATURES, seed=3), x, resumable=name != "river forest")


class Logits(Linear):
    def predict(self, codes, floats):
        return super().predict(codes, floats) * 3 - 1


class Stubborn(Linear):
    def learn(self, codes, floats, y):
        pass


class Relative(Linear):
    def predict(self, codes, floats):
        p = super().predict(codes, floats)
        return p / p.max()


class Forgetful(Linear):
    def load(self, state):
        self.weights = np.array(state["weights"])  # and not the squares


class Shared(Linear):
    def load(self, state):
        self.weights, self.squares = state["weights"], state["squares"]

    def learn(self, codes, floats, y):
        self.weights += 0.1  # in place, so that a copy shares it
        super().learn(codes, floats, y)

    def state(self):
        return dict(weights=self.weights, squares=self.squares)


class Random(Linear):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.weights = self.weights + np.random.default_rng().normal(size=len(self.weights))


@pytest.mark.parametrize("broken", [Logits, Stubborn, Relative, Random, Shared])
def test_the_conformance_check_fails_a_broken_learner(broken):
    with pytest.raises(AssertionError):
        conforms(lambda: broken(FEATURES), make_stream(400, share=1.0))


def test_the_conformance_check_fails_a_state_that_leaves_something_out():
    with pytest.raises(AssertionError):
        conforms(lambda: Forgetful(FEATURES), make_stream(400, share=1.0))


@pytest.mark.parametrize("seed", range(3))
def test_one_label_per_step_equals_river(seed):
    x = make_stream(600, seed)
    ours, _ = progressive(x, Linear(FEATURES, rate=0.2), 1)
    river, _ = progressive(x, LEARNERS["river logistic"](FEATURES, rate=0.2), 1)
    assert np.allclose(ours, river, atol=1e-9)


def test_sparse_rows_equal_one_hot_of_training():
    x = make_stream(50)
    learner = LEARNERS["partial_fit"](FEATURES)
    assert (one_hot(x, FEATURES) != learners.sparse_rows(x.codes, x.floats, learner.first,
                                                         learner.width)).nnz == 0


def test_a_finite_memory_follows_a_change_that_endless_memory_does_not():
    n = 4000
    x = make_stream(n, share=1.0, delay=0)
    x = changed(x, y=np.where(np.arange(n) < n // 2, x.y, 1 - x.y))
    end = slice(3 * n // 4, n)
    losses = [comparison.loss_of(x.y[end], progressive(x, Linear(FEATURES, rate=0.05, memory=m), 4)[0][end])
              for m in (100, math.inf)]
    assert losses[0] < losses[1] - 0.02


def test_a_reservoir_is_a_fair_sample_whatever_the_batches():
    size, counts = 20, np.zeros(200)
    for seed in range(400):
        past, at = learners.Reservoir(size, 1, 1, seed), 0
        for step in [1, 3, 30, 6, 100, 60]:
            rows = np.arange(at, at + step)
            past.add(rows[:, None], np.zeros((step, 1), np.float32), np.ones(step))
            at += step
        assert len(set(past.codes[:, 0])) == size
        counts[past.codes[:, 0]] += 1
    tenths = counts.reshape(10, -1).sum(1)  # 800 each, with a standard deviation of at most 28
    assert abs(tenths - 800).max() < 5 * 28
    assert len(past.draw(50)[0]) == 50 and set(past.draw(50)[0][:, 0]) <= set(past.codes[:, 0])


# ---- choosing, and the offline peer

def test_the_future_does_not_exist_for_tuning():
    x = make_stream(300, delay=400)
    time = int(x.asked[200])
    early = streams.until(x, time)
    assert early.asked.max() < time and early.known[early.known < NEVER].max() < time
    assert (early.known == NEVER).sum() > (x.known[:len(early)]
                                           == NEVER).sum()  # labels that came later are gone
    other = changed(x, y=np.where(x.known >= time, 1 - x.y, x.y))                # another future
    for name in ("linear", "network + replay"):
        lines, same = (online.tune(name, streams.until(k, time), FEATURES, 8) for k in (x, other))
        pd.testing.assert_frame_equal(lines, same)
        assert (np.diff(lines["log loss"]) >= 0).all()


def test_offline_models_learn_only_what_is_known_when_they_are_fitted():
    x, asked_of = make_stream(400, delay=300), []

    def spy(x, rows, features, seed=0):
        asked_of.append(rows)
        return lambda codes, floats: np.full(len(codes), len(asked_of))
    times = comparison.refit_times(x, x.asked[100], 600 / DAY)
    p, _, seen = online.retrained(x, times, FEATURES, fit=spy)
    assert len(times) >= 4 and seen == sum(map(len, asked_of))
    for k, (time, rows) in enumerate(zip(times, asked_of, strict=True)):
        assert set(rows) == set(np.flatnonzero(x.known < time))
        assert (p[(x.asked >= time) & (x.asked < (times + [10 ** 9])[k + 1])] == k + 1).all()
    assert np.isnan(p[x.asked < times[0]]).all() and not np.isnan(p[x.asked >= times[0]]).any()


def test_a_linear_model_fitted_offline_is_the_fast_learner_with_more_passes():
    x = make_stream(600)
    rows = np.flatnonzero(~np.isnan(x.y))
    said = comparison.offline_linear(x, rows, FEATURES)(x.codes, x.floats)
    once = online.Linear(FEATURES)
    once.learn(x.codes[rows], x.floats[rows], x.y[rows])
    assert comparison.loss_of(x.y, said) < comparison.loss_of(x.y, once.predict(x.codes, x.floats))
    assert np.array_equal(said, comparison.offline_linear(x, rows, FEATURES)(x.codes,
                                                                             x.floats))  # a drawn order, the same every time
    assert (comparison.offline_linear(x, rows[:0], FEATURES)(x.codes, x.floats) == 0.5).all()


def test_at_most_so_many_refits_and_one_class_is_no_failure():
    x = make_stream(300)
    assert len(comparison.refit_times(x, x.asked[0], 1 / DAY, most=12)) <= 12
    one = changed(x, y=np.where(np.isnan(x.y), np.nan, 1.0))
    model = comparison.boosting(one, np.flatnonzero(one.y == 1), FEATURES)
    assert (model(x.codes, x.floats) == 1).all() and (comparison.boosting(one, np.array([], int), FEATURES)(x.codes, x.floats) == 0.5).all()


def test_a_period_of_one_class_has_no_auc_and_stays_out_of_the_mean():
    x = make_stream(300, share=1.0)
    period = np.repeat(["a", "b", "c"], 100)
    x = changed(x, period=period, y=np.where(period == "b", 1.0, x.y))
    p, _ = progressive(x, Linear(FEATURES), 4)
    table = online.by_period(x, {"linear": p}, ["a", "b", "c"])
    assert math.isnan(table.loc["b", "linear"]) and table.loc["mean", "linear"] == pytest.approx(table.loc[["a", "c"], "linear"].mean())
    assert online.by_period(x, {"linear": p}, ["a", "b", "c"], comparison.loss_of).notna().all().all()
    assert comparison.rolling(x, p, 50, 25).auc.isna().any()
    pooled = online.by_period(changed(x, y=(period == "a") * 1.0), {"linear": p},
                              ["a", "b", "c"])  # no period has both classes
    assert pooled["linear"][:3].isna().all() and pooled.loc["mean", "linear"] == pytest.approx(comparison.auc_of((period == "a") * 1.0, p))


def test_labels_that_come_later_are_used_later():
    x = make_stream(300)
    held = check_stream(streams.delayed(x, 500))
    assert (held.known == NEVER).sum() == (x.known == NEVER).sum()
    assert plan(held, 8)[0][1] > plan(x, 8)[0][1] and len(plan(held, 8)) == len(plan(x, 8))


def test_paired_differences_have_the_right_sign_and_cover_the_truth():
    x = make_stream(2000, share=1.0)
    x = changed(x, asked=x.asked * 600, known=x.known * 600)  # months
    good = np.where(x.floats[:, 0] > 0, 0.7, 0.3)
    flat = np.full(len(x), 0.5)
    gain, low, high = online.paired(x, good, flat)
    assert low < gain < high and low > 0
    assert gain == pytest.approx(comparison.loss_of(x.y, flat) - comparison.loss_of(x.y, good))
    assert online.paired(x, good, good) == (0.0, 0.0, 0.0)
    back = online.paired(x, flat, good)
    assert back[0] == pytest.approx(-gain)


# ---- drift

@examples(max_examples=60, deadline=None)
@given(st.integers(0, 10 ** 6), st.floats(1, 40), st.floats(-0.5, 0.5), st.integers(1, 60))
def test_page_hinkley_equals_river(seed, threshold, shift, least):
    rng = np.random.default_rng(seed)
    values = rng.random(1500) + shift * (np.arange(1500) // 400 % 2)
    ours, theirs = PageHinkley(threshold=threshold, least=least), drift.PageHinkley(threshold=threshold, min_instances=least)
    for v in values.tolist():
        theirs.update(v)
        assert ours.update(v) == theirs.drift_detected


@pytest.mark.parametrize("make", [drift.ADWIN, partial(PageHinkley, threshold=20),
                                  partial(drift.PageHinkley, threshold=20)])
def test_direction_and_debounce(make):
    rng = np.random.default_rng(0)
    quiet = rng.random(3000) * 0.4
    up = np.r_[quiet, quiet + 0.3, quiet]
    found = online.alarms(make(), up)
    lasting = online.debounced(found, up, wait=500, least=0.1)
    assert [a.direction for a in lasting] == ["worse", "better"]
    assert 3000 < lasting[0].at < 3500 < 6000 < lasting[1].at < 6500
    assert lasting[0].before == pytest.approx(0.2, abs=0.07) and lasting[0].after == pytest.approx(0.5, abs=0.03)
    storm = np.r_[quiet, quiet[:200] + 0.4, quiet]  # over before it is confirmed
    assert online.alarms(make(), storm) and not online.debounced(online.alarms(make(), storm), storm, wait=1000, least=0.1)
    end = np.r_[quiet, quiet[:400] + 0.6]           # too near to the end to tell
    assert online.alarms(make(), end) and not online.debounced(online.alarms(make(), end), end, wait=1000, least=0.1)


# ---- any table

def card(source, **data):
    return core.Settings(data=core.Data(source=str(source), **data), home=source.parent, alone=True)


def test_a_table_with_time_takes_the_delay_of_the_card(small, table):
    table.loc[3, "a"], table.loc[5, "b"] = np.nan, np.inf
    table["y"] = table["y"].astype(float)
    table.loc[7, "y"] = np.nan
    path = small(table, time="when")
    s = core.load_settings(path)
    s = s.model_copy(update={"learning": core.Learning(label_delay_days=3)})
    formats.ingest(s)
    x, features = online.open_stream(s)
    assert len(x) == 200 and np.isfinite(x.floats).all() and (x.known == NEVER).sum() == 1
    has = x.known < NEVER
    assert (x.known[has] - x.asked[has] == 3 * DAY).all() and (np.diff(x.asked) > 0).all()
    first = plan(x, 1)[0]
    assert first[1] == 4  # three days pass before the first label


def test_without_time_the_rows_come_in_the_order_of_the_folds(cancer):
    s = card(cancer, target="target")
    data = formats.dataset(s)
    x, features = online.open_stream(s)
    assert len(x) == 569 and x.period.tolist() == sorted(x.period) and (x.asked == x.known).all()
    p, _ = progressive(x, Linear(features, rate=0.1), 4)
    assert comparison.auc_of(x.y[300:], p[300:]) > 0.95 and data.key == "fold"


def test_rows_set_aside_by_the_data_tests_are_not_in_the_stream(cancer):
    import pyarrow.parquet as pq
    s = card(cancer, target="target")
    formats.dataset(s)
    pq.write_table(pa.table({"_row": [0, 5, 568]}), core.out_folder(s, "testing") / "quarantine.parquet")
    x, _ = online.open_stream(s)
    assert len(x) == 566 and not {0, 5, 568} & set(x.row)


# ---- checkpoints that are not what they should be

def test_a_checkpoint_is_plain_arrays_and_a_wrong_one_is_refused(tmp_path):
    x = make_stream(200)
    p = online.resume(x, Linear(FEATURES), tmp_path, 8, every=5)
    assert np.array_equal(p, progressive(x, Linear(FEATURES), 8)[0])
    again = online.resume(x, Linear(FEATURES), tmp_path, 8, every=5)  # nothing left to do
    assert np.array_equal(p, again)
    for learner, batch, words in [(Linear(FEATURES), 4, "another stream or size of step"),
                                  (LEARNERS["network"](FEATURES), 8, "another kind of learner")]:
        with pytest.raises(BadInput, match=words):
            online.resume(x, learner, tmp_path, batch)
    with pytest.raises(BadInput, match="another stream"):
        online.resume(changed(x, y=np.where(x.y == 1, 0.0, x.y)), Linear(FEATURES), tmp_path, 8)
    whole = (tmp_path / "state.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    for damaged in [b"", whole[:20], whole[:-1], b"\x80\x04\x95" + whole, *(rng.bytes(k) for k in (8, 100))]:
        (tmp_path / "state.safetensors").write_bytes(damaged)
        with pytest.raises(BadInput, match="not a readable checkpoint"):
            online.resume(x, Linear(FEATURES), tmp_path, 8)
    header = json.loads(whole[8:8 + int.from_bytes(whole[:8], "little")])
    assert {"weights", "squares", "__metadata__"} == set(header)


def test_the_forest_says_that_it_cannot_be_checkpointed(tmp_path):
    with pytest.raises(BadInput, match="without pickles"):
        online.resume(make_stream(50), LEARNERS["river forest"](FEATURES), tmp_path, 8)
