"""The rules of the design card: each has a card that breaks it and a near one that does not; advice works; the picture fits."""
import itertools
import json
import os
from pathlib import Path
from typing import Literal, get_args, get_origin

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.patches import FancyBboxPatch

from mlsys import core, design
from mlsys.core import BadInput, Settings
from mlsys.design import consequences, contradictions

ROOT = Path(__file__).parents[1]
PLAIN = Settings(data=core.Data(source="plain.csv", target="y", time="when", entity="who"))
ONLINE = dict(inference_mode="online", latency_ms=200)
EDGE = dict(location_place="edge", device="single-board")
LEARN = dict(learning_mode="online")
PEOPLE = dict(low_confidence="human")
PERSONAL = dict(personal_data=True, retention_days=90)

PAIRS = {  # rule -> (what both cards say, what breaks it, the nearest that does not)
    "batch_misses_deadline": ({}, dict(latency_ms=86_519_000), dict(latency_ms=86_520_000)),
    "runs_overlap": (dict(every_hours=1), dict(run_minutes=61), dict(run_minutes=60)),
    "deadline_below_floor": (ONLINE, dict(round_trip_ms=200), dict(round_trip_ms=100)),
    "nobody_waits": (dict(inference_mode="online"), dict(latency_ms=0), dict(latency_ms=1)),
    "peak_below_mean": (ONLINE | dict(rows_per_day=864_000), dict(requests_per_second=9.9),
                        dict(requests_per_second=10)),
    "load_over_capacity": (ONLINE, dict(requests_per_second=1e9), dict(requests_per_second=10)),
    "asks_nobody": (dict(low_confidence="ask"), {}, ONLINE),
    "person_too_slow": (ONLINE | PEOPLE, dict(latency_ms=10), dict(latency_ms=61_000)),
    "people_overrun": (PEOPLE | dict(rows_per_day=28_800, low_share=0.1, human_seconds=10), dict(people=0.9),
                       dict(people=1)),
    "person_out_of_reach": (EDGE | PEOPLE, dict(network=False), dict(network=True)),
    "discards_what_it_must_find": (dict(low_confidence="discard", low_share=0.25), dict(at_least=0.76),
                                   dict(at_least=0.75)),
    "one_price": (dict(cost_false_alarm=1), dict(cost_miss=0), dict(cost_miss=3)),
    "budget_never_binds": (dict(rows_per_day=1000), dict(alarms_per_day=1000), dict(alarms_per_day=999)),
    "cloud_without_network": (dict(network=False), {}, EDGE),
    "device_in_the_cloud": (dict(device="phone"), {}, dict(location_place="edge")),
    "device_unnamed": (dict(location_place="edge"), {}, dict(device="phone")),
    "memory_beyond_device": (EDGE, dict(memory_mb=16_385), dict(memory_mb=16_384)),
    "model_over_memory": (dict(location_place="edge", device="microcontroller", memory_mb=2.1),
                          dict(model_mb=100), dict(model_mb=2)),
    "model_streams": (dict(location_place="edge", device="coral"), dict(model_mb=8.1), dict(model_mb=8)),
    "out_of_sight": (EDGE, dict(network=False), dict(network=True)),
    "updates_cannot_arrive": (EDGE | LEARN | dict(network=False), dict(learner="cloud"),
                              dict(learner="edge")),
    "learner_without_device": (dict(learner="edge"), {}, EDGE),
    "frozen_device": (dict(location_place="edge", learner="edge"), dict(device="coral"),
                      dict(device="phone")),
    "learns_from_nothing": (LEARN, dict(labels=False), dict(labels=True)),
    "steps_without_order": (LEARN, dict(data_time=""), dict(data_time="when")),
    "shuffled_rows": ({}, dict(data_time=""), dict(data_time="when")),
    "labels_after_retraining": (LEARN | dict(label_delay_days=7), dict(retrain_days=6.9),
                                dict(retrain_days=7)),
    "judged_too_late": (dict(label_delay_days=7), dict(retrain_days=6.9), dict(retrain_days=7)),
    "window_without_labels": (dict(label_delay_days=30), dict(window_days=30), dict(window_days=31)),
    "rows_never_learned": (dict(window_days=30), dict(retrain_days=31), dict(retrain_days=30)),
    "models_never_used": (dict(every_hours=48), dict(retrain_days=1.9), dict(retrain_days=2)),
    "goal_unseen": ({}, dict(labels=False), dict(labels=True)),
    "wishes_unweighed": (dict(labels=False), dict(objective="combined loss"), dict(objective="one loss")),
    "data_after_the_deadline": (dict(history_days=0, window_days=25, label_delay_days=6), dict(time_days=30),
                                dict(time_days=31)),
    "first_system_without_data": (dict(history_days=0, window_days=10, time_days=50), dict(first_share=0.1),
                                  dict(first_share=0.2)),
    "no_second_try": (dict(time_days=30, first_share=0.2), dict(label_delay_days=25),
                      dict(label_delay_days=24)),
    "always_on_over_budget": (ONLINE | dict(price_per_hour=0.1), dict(budget_per_month=72.9),
                              dict(budget_per_month=73.1)),
    "runs_over_budget": (dict(every_hours=1, run_minutes=60, price_per_hour=0.1), dict(budget_per_month=72.9),
                         dict(budget_per_month=73.1)),
    "retention_before_window": (PERSONAL, dict(window_days=91), dict(window_days=90)),
    "kept_for_ever": (PERSONAL, dict(retention_days=0), dict(retention_days=90)),
    "cannot_forget": (PERSONAL, dict(entity=""), dict(entity="who")),
    "rows_leave_the_device": (EDGE | PERSONAL, dict(learner="cloud"), dict(learner="edge")),
    "noise_drowns_steps": (LEARN | PERSONAL, dict(epsilon=0.9), dict(epsilon=1)),
    "privacy_for_nobody": (dict(epsilon=4), {}, PERSONAL),
    "promise_is_empty": (PERSONAL, dict(epsilon=10.1), dict(epsilon=10)),
}


def broken(**given):
    return {x.rule for x in design.findings(design.change(PLAIN, **given))}


def test_every_rule_has_a_pair():
    assert set(PAIRS) == set(contradictions.RULES) and len(PAIRS) >= 15


@pytest.mark.parametrize("name", PAIRS)
def test_rule_breaks_and_does_not(name):
    both, bad, good = PAIRS[name]
    assert name in broken(**{**both, **bad})
    assert name not in broken(**{**both, **good})


@pytest.mark.parametrize("name", PAIRS)
def test_finding_can_be_acted_on(name):
    both, bad, _ = PAIRS[name]
    card = design.change(PLAIN, **{**both, **bad})
    found = next(x for x in design.findings(card) if x.rule == name)
    assert found.change in str(found) and found.severity in ("contradiction", "warning") and len(found.why) > 30 and found.why.endswith(".")
    assert len(found.clash) >= 2 and all(found.clash.values()) and found.change
    changed = {core.find_key(k) for k in bad}
    assert changed <= {core.find_key(k) for k in [x.split("] ")[0][1:] + "_" + x.split("] ")[1]
                                                  for x in found.clash]} | \
        {("location", "round_trip_ms"), ("inference", "run_minutes")}
    for fix in found.fixes:
        assert name not in {x.rule for x in design.findings(design.change(card, **fix))}, fix


@pytest.mark.parametrize("name", PAIRS)
def test_advice_can_be_copied_into_the_card(name, tmp_path):
    both, bad, _ = PAIRS[name]
    found = next(x for x in design.findings(design.change(PLAIN, **{**both, **bad})) if x.rule == name)
    for fix, words in zip(found.fixes, found.change.split(", or "), strict=True):
        lines = [line[1:].replace("] ", "]\n", 1) for line in words.split(" and ")]
        file = tmp_path / "settings.ini"
        file.write_text("\n".join("[" + line for line in lines))
        copied = core.load_settings(file)
        for key, value in fix.items():
            section, key = core.find_key(key)
            assert getattr(getattr(copied, section), key) == value


def test_the_plain_card_is_clean():
    assert design.findings(PLAIN) == []


def test_the_default_card_has_no_contradiction():
    assert {x.severity for x in design.findings(Settings())} <= {"warning"}
    assert design.summary(Settings())["coherent"]


def test_the_running_example_has_no_finding(monkeypatch):
    for var in [v for v in os.environ if v.startswith("MLSYS_")]:
        monkeypatch.delenv(var)
    card = core.load_settings(ROOT / "settings.ini")
    assert card.data.source == "flights" and design.findings(card) == []
    assert card.data.train * 30 == card.learning.window_days


def _values(field):
    if field.annotation is bool:
        return st.booleans()
    if get_origin(field.annotation) is tuple:
        return st.just(())
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    low = next((getattr(m, a) for m in field.metadata for a in ("ge", "gt") if hasattr(m, a)), None)
    high = next((getattr(m, a) for m in field.metadata for a in ("le", "lt") if hasattr(m, a)), None)
    positive = st.floats(-4, 6).map(lambda e: float(f"{10**e:.4g}")) if high is None else st.floats(1e-3, 0.999)
    return positive if any(hasattr(m, "gt") for m in field.metadata) else st.just(low) | positive


sections = {h: st.builds(core.SECTIONS[h], **{k: _values(f)
                                              for k, f in core.SECTIONS[h].model_fields.items()})
            for h in consequences.HEADINGS}
data = st.builds(core.Data, source=st.just("a.csv"), time=st.sampled_from(["", "t"]),
                 entity=st.sampled_from(["", "e"]))
cards = st.builds(Settings, data=data, **sections)
many = hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(cards)
def test_any_card_is_judged_and_told(card):
    found = design.findings(card)
    assert [x.severity for x in found] == sorted(x.severity for x in found)
    assert design.verdict(card).startswith("coherent") == all(x.severity == "warning" for x in found)
    assert set(design.follows(card)["heading"]) == set(consequences.HEADINGS.values())
    assert json.loads(json.dumps(design.summary(card)))["coherent"] == design.summary(card)["coherent"]
    for name, fix in [(x.rule, fix) for x in found for fix in x.fixes]:
        assert name not in {x.rule for x in design.findings(design.change(card, **fix))}, (name, fix)


@many
@given(cards)
def test_following_the_first_advice_ends_in_a_coherent_card(card):
    for _ in range(40):
        bad = [x for x in design.findings(card) if x.severity == "contradiction"]
        if not bad:
            return
        card = design.change(card, **bad[0].fixes[0])
    raise AssertionError([x.rule for x in bad])


@given(st.floats(1e-9, 1e12))
def test_up_and_down_stay_near(x):
    assert x * 0.98 <= contradictions.down(x) <= x <= contradictions.up(x) <= x * 1.02


def _overlaps(a, b):
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


KEYS = "inference_mode", "location_place", "learning_mode", "low_confidence", "network"
LOOKS = [dict(zip(KEYS, v, strict=True)) for v in itertools.product(
    ("batch", "online"), ("cloud", "edge"), ("offline", "online"), ("answer", "human", "ask", "discard"),
                                                                    (True, False))]


@pytest.mark.parametrize("look", LOOKS[::3], ids=lambda x: "-".join(map(str, x.values())))
def test_nothing_in_the_picture_overlaps(look):
    full = dict(personal_data=True, retention_days=3650, epsilon=4, objective="combined models",
                metrics_primary="average_precision",
                labels=look["network"], learner=look["location_place"],
                data_name="a_table_with_a_long_name.parquet", latency_ms=7.2e6)
    fig = design.picture(design.change(PLAIN, **look, **full))
    fig.canvas.draw()
    ax, render = fig.axes[0], fig.canvas.get_renderer()
    texts = {t: t.get_window_extent(render) for t in ax.texts if t.get_text()}
    boxes = [p.get_window_extent(render) for p in ax.patches if isinstance(p, FancyBboxPatch)]
    for (a, ea), (b, eb) in itertools.combinations(texts.items(), 2):
        assert not _overlaps(ea, eb), (a.get_text(), b.get_text())
    for t, e in texts.items():
        for box in boxes:
            inside = box.x0 <= e.x0 and e.x1 <= box.x1 and box.y0 <= e.y0 and e.y1 <= box.y1
            assert inside or not _overlaps(e, box), t.get_text()
        assert fig.bbox.x0 <= e.x0 and e.x1 <= fig.bbox.x1, t.get_text()
    for a, b in itertools.combinations(boxes, 2):
        assert not _overlaps(a, b)
    plt.close(fig)


def test_the_picture_differs_from_card_to_card():
    looks = [x for x in LOOKS if x["network"]]
    shown = set()
    for look in looks:
        fig = design.picture(design.change(PLAIN, **look))
        shown.add(tuple(t.get_text() for t in fig.axes[0].texts))
        plt.close(fig)
    assert len(shown) == len(looks)


def test_the_boxes_of_a_contradiction_are_marked():
    def thick(card):
        return sum(p.get_linewidth() > 2 for p in design.picture(card).axes[0].patches
                   if isinstance(p, FancyBboxPatch))
    assert thick(PLAIN) == 0 < thick(design.change(PLAIN, window_days=30, label_delay_days=40))
    plt.close("all")


def test_every_key_has_a_meaning():
    for section, model in core.SECTIONS.items():
        if section in consequences.HEADINGS:
            assert set(core.comments(model)) == set(model.model_fields)


@pytest.mark.parametrize("text, said", [
    ("[learnin]\nmode = offline", "[learnin]: unknown section; did you mean 'learning'?"),
    ("[learning]\nretrain_day = 3", "[learning] retrain_day: unknown key; did you mean 'retrain_days'?"),
    ("[learning]\nretrain_days = soon", "[learning] retrain_days = soon: "),
    ("[learning]\nretrain_days = -1", "[learning] retrain_days = -1: "),
    ("[inference]\nmode = stream", "[inference] mode = stream: "),
    ("[location]\nnetwork = perhaps", "[location] network = perhaps: "),
    ("[metrics]\nat_least = 1", "[metrics] at_least = 1: "),
    ("[constraints]\nlatency_ms = 10 ms", "[constraints] latency_ms = 10 ms: "),
])
def test_a_mistake_in_the_card_names_file_section_and_key(tmp_path, text, said):
    file = tmp_path / "settings.ini"
    file.write_text(text)
    with pytest.raises(BadInput) as e:
        core.load_settings(file)
    assert "settings.ini" in str(e.value) and said in str(e.value) and "\n" not in str(e.value)


def test_change_refuses_what_the_card_would_refuse():
    with pytest.raises(BadInput, match="in several sections"):
        design.change(PLAIN, mode="online")
    with pytest.raises(BadInput, match=r"\[location\] device = toaster"):
        design.change(PLAIN, device="toaster")
