"""Studies: what a study masks and asks, its plan, and its tables from made-up evaluations."""

import dataclasses
import math
import re
import time

import numpy as np
import pandas as pd
import pytest
import tiny
from culture_by_hand import CULTURE, LAYOUT

from culnig_tl import attribute, evaluate, load_model
from culnig_tl.errors import CulnigError, EmptySelection, FlatRanking
from culnig_tl.models.configs import read_config
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study import plan
from culnig_tl.study.arguments import PRESETS, Study
from culnig_tl.study.data import SCORED, study_data
from culnig_tl.study.maskings import GENERAL, instances_of, study_maskings
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.published import published
from culnig_tl.study.tables import study_tables
from culnig_tl.tasks.countries import FOCUS_COUNTRIES

SMALL = Study(limit=16, test_limit=32, rc_limit=8, other_limit=4, groups=("Iran", "Spain"))
WHOLE = dataclasses.replace(SMALL, specific=True, ablations=True, sweep=True, matched_seeds=1)


def test_what_is_masked():
    names = [(m.kind, m.name) for m in study_maskings(WHOLE)]
    assert names[:6] == [
        ("original", "original"),
        ("general", GENERAL),
        ("random", "random-0"),
        ("random", "random-1"),
        ("specific", "Iran"),
        ("specific", "Spain"),
    ]
    assert [name for kind, name in names if kind == "ablation"] == [
        "score mean",
        "score norm",
        "without control",
        "without CountryRC",
        "MLP only",
        "attention only",
    ]
    assert [name for kind, name in names if kind == "matched"] == ["random-matched-0"]
    assert sum(kind == "sweep" for kind, _ in names) == 12
    assert len({name for _, name in names}) == len(names)


def test_focus_countries_in_any_spelling_are_asked_once():
    study = dataclasses.replace(SMALL, groups=("US", "greece"), focus_limit=4, test_limit=2)
    asked = study_data(study).tests["everyday"]
    assert [one.group for one in asked] == ["USA"] * 4 + ["Greece"] * 2


def test_what_a_small_study_masks():
    assert [m.kind for m in study_maskings(SMALL)] == ["original", "general", "random", "random"]


BY_HAND = dict.fromkeys(
    ("neuron", "control", "names"), dataclasses.replace(CULTURE, variants=("max",))
)
UNCONTROLLED = dataclasses.replace(
    WHOLE, control=False, name_filter=False, top_mlp=0.1, top_attention=0.13, top=5 / 36
)


def selected(name, study=UNCONTROLLED):
    """A study's set of this name, from the scores by hand."""
    made = {m.name: m for m in study_maskings(study)}
    general = None if name == GENERAL else selected(GENERAL)
    return made[name].select(BY_HAND, general)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        (GENERAL, [10, 16, 20, 27]),
        ("MLP only", [20, 27]),
        ("attention only", [10, 16]),
        ("Iran", [0, 10, 16]),
    ],
)
def test_each_set_is_selected_as_its_name_says(name, ids):
    assert selected(name).ids.tolist() == ids


def test_a_random_set_is_as_large_as_the_general_one():
    assert len(selected("random-0")) == 4


def test_a_matched_set_has_the_counts_of_the_general_one():
    assert selected("random-matched-0").counts().equals(selected(GENERAL).counts())


def test_nothing_is_left_of_the_rank_where_the_control_is_the_same_scores():
    with pytest.raises(FlatRanking, match="the scores of the MLP neurons are all 0"):
        selected(GENERAL, dataclasses.replace(UNCONTROLLED, control=True))


def test_a_share_of_none_is_an_empty_selection():
    with pytest.raises(EmptySelection, match="of one group: top"):
        selected("Iran", dataclasses.replace(UNCONTROLLED, top=0.0))


def test_what_is_asked():
    data = study_data(WHOLE)
    assert list(data.parts) == [
        *SCORED,
        "everyday test",
        "countryrc test",
        "commonsense test",
        "paraphrase test",
    ]
    assert {i.group for i in data.names} == {"Iran", "Spain"}


def test_what_each_kind_of_set_is_asked():
    data = study_data(WHOLE)
    kinds = {m.kind: instances_of(m, data) for m in study_maskings(WHOLE)}
    assert kinds["original"] == kinds["random"] == kinds["ablation"] == data.asked
    assert {i.task for i in kinds["specific"]} == {"everyday", "countryrc"}
    assert kinds["sweep"] == data.tests["everyday"]


def test_the_sweep_asks_a_part_of_a_long_test():
    data = study_data(dataclasses.replace(WHOLE, test_limit=0, groups=None))
    data = dataclasses.replace(data, tests={"everyday": 2 * data.tests["everyday"]})
    sweep = next(m for m in study_maskings(WHOLE) if m.kind == "sweep")
    assert 300 < len(instances_of(sweep, data)) <= 400
    assert {i.group for i in instances_of(sweep, data)} >= set(FOCUS_COUNTRIES)


def test_more_of_the_focus_countries():
    data = study_data(dataclasses.replace(SMALL, groups=None, focus_limit=40, test_limit=16))
    counts = pd.Series([i.group for i in data.tests["everyday"]]).value_counts()
    assert set(counts[list(FOCUS_COUNTRIES)]) == {5}
    assert set(counts.drop(list(FOCUS_COUNTRIES))) == {2}


def test_focus_countries_are_of_those_that_are_asked_about():
    only = study_data(dataclasses.replace(SMALL, focus_limit=10)).tests["everyday"]
    assert len(only) == 10
    assert {i.group for i in only} == {"Iran", "Spain"}


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert {paper.task, *paper.tests} >= {"blend", "culturalbench", "normad", "worldvaluesbench"}
    assert (paper.top_mlp, paper.top_attention, paper.remove, paper.top, paper.least_z) == (
        *(0.01, 0.002, 0.01, 0.003, 0.5),
    )
    assert (paper.seeds, paper.variant, paper.template_count) == (10, "max", 4)


def test_a_test_that_is_named_twice():
    with pytest.raises(CulnigError, match="task 'qnli' is named twice: name each test once"):
        study_data(Study(tests=("qnli", "qnli")))


def test_data_of_a_task_that_is_not_asked():
    with pytest.raises(CulnigError, match="data is given for 'mrpc', which this run does not as"):
        study_data(Study(data={"mrpc": "x.csv"}))


def test_a_study_without_a_random_set():
    with pytest.raises(CulnigError, match="seeds is 0: give 1 or more random sets"):
        study_maskings(Study(seeds=0))


def test_matched_sets_are_random_ones_too():
    assert study_maskings(Study(seeds=0, matched_seeds=1))


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        *(({name: value}, f"{name} is {value}: give a share between 0 and 1")
          for name in ("top_mlp", "top_attention", "remove", "top") for value in (NAN, 2.0, -0.1)),
        *(({"factor": value}, f"factor is {value}: give a finite number") for value in (NAN, INF)),
        *(({"least_z": value}, f"least_z is {value}: give a finite number") for value in (NAN, INF)),
        *(({name: -1}, f"{name} is -1: give 0 or more")
          for name in ("limit", "test_limit", "focus_limit", "rc_limit", "other_limit", "seeds")),
        ({"matched_seeds": -3}, "matched_seeds is -3: give 0 or more"),
        ({"seeds": 10**6}, "seeds is 1000000: give 10000 or less"),
        *(({name: 0}, f"{name} is 0: give 1 or more")
          for name in ("devices", "template_count", "token_budget")),
        ({"token_budget": -1}, "token_budget is -1: give 1 or more"),
        ({"variant": "maxx"}, "unknown score variant 'maxx': choose from max, mean, norm"),
        ({"target": "sum"}, "unknown target 'sum': choose from product, geometric, log"),
        ({"answer_format": "json"}, "unknown answer format 'json': choose from auto, cloze, letter"),
        ({"dtype": "int8"}, "unknown dtype 'int8': choose from float32, bfloat16, float16, float64"),
        ({"model_class": "HF"}, "unknown model class 'HF': choose from auto, HookedTransformer"),
        ({"task": "nope"}, "unknown task 'nope': choose from everyday, blend"),
        ({"task": "qnli"}, "task 'qnli' has no split 'neuron': it has test"),
        ({"tests": ("nope",)}, "unknown task 'nope': choose from everyday, blend"),
        ({"tests": ("everyday",)}, "task 'everyday' is named twice: name each test once"),
        ({"groups": ()}, "groups is empty: give one or more, or None for all"),
        ({"groups": ("US", "USA")}, "country 'USA' is named twice: name each once"),
        ({"groups": ("Atlantis",)}, "unknown country 'Atlantis': choose from Algeria"),
        ({"model": " "}, "model is ' ': give a text that is not empty"),
        ({"revision": ""}, "revision is '': give a text that is not empty"),
        ({"top_mlp": 0.0, "top_attention": 0.0}, "top_mlp and top_attention are 0, which selects"),
        ({"remove": 1.0}, "remove is 1, which leaves no neuron: give less"),
    ],
    ids=str,
)  # fmt: skip
def test_a_study_refuses_what_could_only_fail_later(changes, line):
    with pytest.raises(CulnigError, match=f"^{re.escape(line)}"):
        Study(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"least_z": -INF},
        {"factor": -1.0},
        {"top_mlp": 0.0},
        {"remove": 1.0, "name_filter": False},
        {"data": {"countryrc": "x.json"}},
    ],
    ids=str,
)
def test_what_a_study_may_have(changes):
    assert Study(**changes)


def answers(data, right) -> pd.DataFrame:
    """A frame as `evaluate` gives it; `right` says for an instance whether it is answered."""
    return pd.DataFrame(
        {
            "id": [i.id for i in data],
            "task": [i.task for i in data],
            "group": [i.group or "" for i in data],
            "correct": [right(i) for i in data],
            "probability": 0.5,
        }
    )


@pytest.fixture(scope="module")
def whole():
    """The tables of a whole study, and what they are made from.

    Masking a set takes its own country's answers, the culture-general one all with a country.
    """
    data, made = study_data(WHOLE), study_maskings(WHOLE)
    sets = {
        m.name: NeuronSet(LAYOUT, np.arange(number + 1), m.name)
        for number, m in enumerate(made)
        if m.select is not None
    }

    def right(masking):
        if masking.kind in ("general", "sweep"):
            return lambda i: i.group is None
        return lambda i: i.group != masking.name

    frames = {m.name: answers(instances_of(m, data), right(m)) for m in made}
    return study_tables(made, sets, frames), made, sets, frames


def test_the_general_set_takes_cultural_answers_alone(whole):
    tables, *_ = whole
    assert list(tables["table"]["masked"]) == [0.0, 0.0, 100.0, 100.0]
    assert list(tables["matched"]["random"]) == [100.0] * 4


def test_each_specific_set_takes_its_own_countrys_answers(whole):
    tables, *_ = whole
    assert tables["reductions"].to_numpy().tolist() == [[100.0, 0.0], [0.0, 100.0]]
    assert list(tables["own"]["rank"]) == [1.0, 1.0]


def test_neurons_of_sets_are_counted_in_the_tables(whole):
    tables, *_ = whole
    assert tables["overlap"].loc[GENERAL].tolist() == [2, 2, 2]
    assert tables["sets"].loc["random-0", "gate"] == 3


def test_ablations_stand_beside_the_general_set(whole):
    ablations = whole[0]["ablations"]
    assert list(ablations.index[:3]) == ["chance", "original", GENERAL]
    assert ablations.loc[GENERAL, "neurons"] == 2
    assert ablations.loc[GENERAL, "commonsense"] == 100.0
    assert ablations.loc[GENERAL, "everyday"] == 0.0


def test_the_sweep_has_a_row_a_set(whole):
    sweep = whole[0]["sweep"]
    assert len(sweep) == 12
    assert set(sweep["reduction"]) == {100.0}


def test_a_study_without_the_optional_parts_has_no_such_tables(whole):
    _, made, sets, frames = whole
    few = [m for m in made if m.kind in ("original", "general", "random")]
    assert set(study_tables(few, sets, frames)) == {"table", "probability", "groups", "sets"}


def test_published_accuracies():
    table = published("table", "google/gemma-3-12b-it")
    assert table.loc["blend", ["original", "masked", "random"]].tolist() == [64.22, 37.93, 63.57]
    assert len(table) == 7


def test_nothing_is_published_of_a_small_models_accuracies():
    assert published("table", "gemma-3-270m") is None


def test_published_ranks():
    ranks = published("ranks", "gemma-3-270m")
    assert ranks.loc["China", "China"] == 1
    assert ranks.shape == (8, 16)


def test_published_neurons_of_countries():
    assert published("specific", "microsoft/phi-4").loc["Iran", "neurons"] == 1373


def test_published_ablations():
    ablations = published("ablations", "google/gemma-3-12b-it")
    assert ablations.loc["without control", "commonsenseqa"] == 70.13
    assert ablations.loc["score mean", "neurons"] == 8151
    assert published("ablations", "phi-4").loc["without CountryRC", "countryrc"] == 0.13


@pytest.fixture(scope="module")
def planned():
    """A whole study's plan, from a short measurement of one layer and a few words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "MEASURED_SECONDS", 0.0)
        patch.setattr(plan, "MEASURED_PARAMETERS", 1e6)  # of gemma-3-270m, one layer, few words
        return plan.plan_study(dataclasses.replace(WHOLE, token_budget=100))


def test_the_steps_of_a_plan(planned):
    assert {name: len(steps) for name, steps in planned.by_name().items()} == {
        **dict.fromkeys(("score neuron", "score control", "score names"), 1),
        **{"evaluate original": 1, "evaluate general": 1, "evaluate random": 2},
        **{"evaluate specific": 2, "evaluate ablation": 6, "evaluate matched": 1},
        "evaluate sweep": 12,
    }


def test_what_a_step_of_a_plan_takes(planned):
    steps = {name: same[0] for name, same in planned.by_name().items()}
    assert steps["score neuron"].instances == 16
    assert steps["score neuron"].backward
    assert steps["evaluate original"].instances == 32 + 4 * 3
    assert steps["evaluate specific"].instances == 32 + 4
    assert steps["evaluate original"].tokens > 10 * steps["evaluate original"].instances


# Published sizes: 0.27, 11.8 (text part), 8.0 and 14.7 billion.
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("gemma-3-270m", 0.268),
        ("google/gemma-3-12b-it", 11.8),
        ("meta-llama/Llama-3.1-8B-Instruct", 8.03),
        ("microsoft/phi-4", 14.66),
        ("tiiuae/Falcon3-10B-Instruct", 10.3),
    ],
)
def test_the_plan_knows_the_sizes_of_the_papers_models(planned, name, billions):
    costs = {cost.model: cost for cost in planned.costs}
    assert len(costs) == 7
    assert costs[name].parameters / 1e9 == pytest.approx(billions, rel=0.02)


def test_a_large_model_costs_more(planned):
    costs = {cost.model: cost for cost in planned.costs}
    small, large = costs["gemma-3-270m"], costs["google/gemma-3-27b-it"]
    assert large.seconds_here > 50 * small.seconds_here
    assert large.memory > 27e9 * 4
    sizes = plan.model_sizes(PAPER_MODELS["google/gemma-3-27b-it"].config())
    assert large.flops == sum(plan.step_flops(sizes, step) for step in planned.steps)


def test_the_plan_says_what_was_measured(planned):
    assert "measured just now in float32 on 1 of 18 layers of gemma-3-270m" in planned.note


def test_a_plan_without_the_models_tokenizer(monkeypatch):
    monkeypatch.setattr(plan, "machine_speeds", lambda *arguments, **k: {True: 1e9, False: 1e9})
    model = "microsoft/phi-4"  # known by its configuration alone; no network in tests
    letter = plan.plan_study(dataclasses.replace(SMALL, model=model, devices=2))
    assert "about 4 characters a token" in letter.note
    assert "on each of 2 devices" in letter.note
    cloze = plan.plan_study(dataclasses.replace(SMALL, model=model, answer_format="cloze"))
    texts = [i.cloze for i in study_data(SMALL).neuron]
    labels = [i.options[i.answer] for i in study_data(SMALL).neuron]
    about = sum(map(len, texts)) / 4 + sum(map(len, labels)) / 4
    assert cloze.steps[0].tokens == pytest.approx(about, rel=0.25)
    assert letter.costs[0].memory == pytest.approx(cloze.costs[0].memory / 2, rel=0.1)


@pytest.mark.slow  # it measures time, which other work on the machine moves
@pytest.mark.model
@pytest.mark.parametrize("name", ["small", pytest.param("gemma-3-270m", marks=[tiny.needs_gemma])])
def test_the_plan_against_a_real_run(monkeypatch, tmp_path, name):
    """Seconds within 30%: of processor time, as other tests run beside this one."""
    if name == "small":
        wide = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
        name = str(tiny.byte_model(tmp_path / "small", **wide))
        monkeypatch.setattr(plan, "MEASURED_SECONDS", 1.0)
    study = dataclasses.replace(WHOLE, model=name, limit=64, answer_format="cloze")
    model, data = load_model(name), study_data(study)
    sizes = plan.model_sizes(read_config(name))
    monkeypatch.setattr(plan, "_clock", time.process_time)
    for attempt in range(4):
        planned = plan.plan_study(study)
        groups = planned.by_name()
        ratios = {}
        for step, work in (
            ("score neuron", lambda: attribute(model, data.neuron, answer_format="cloze")),
            ("evaluate original", lambda: evaluate(model, data.asked, answer_format="cloze")),
        ):
            expected = plan.step_flops(sizes, groups[step][0])
            start = time.process_time()
            work()
            seconds = time.process_time() - start
            ratios[step] = expected / planned.speeds[groups[step][0].backward] / seconds
        if all(0.7 < ratio < 1.3 for ratio in ratios.values()):
            break
        assert attempt < 3, ratios
