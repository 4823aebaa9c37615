"""Patching: A into A, everything of A into B, and the gradient's estimate of little changes."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet
from culnig_tl.analysis.agreement import patching_matrix
from culnig_tl.measure.pairs import group_pairs, pair_preferences
from culnig_tl.measure.patching import (
    activation_patch,
    attribution_patch,
    check_scale,
    patching_effects,
)
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.neurons.layout import Neuron
from culnig_tl.tasks import load_task

pytestmark = pytest.mark.model


def everything(model) -> NeuronSet:
    layout = layout_of(model)
    return NeuronSet(layout, np.arange(layout.total), "everything")


def pair(longer: bool = False):
    """The same question of Iran and Spain; with `longer` the source's has more tokens."""
    iran = replace(
        tiny.instances()[0],
        id="q/Iran",
        options=("hot bread", "rice", "tea", "maize"),
        answer=0,
        cloze="Question : what do people in iran eat for lunch ? Answer:",
    )
    spain = replace(
        iran, id="q/Spain", group="Spain", answer=1, cloze=iran.cloze.replace("iran", "spain")
    )
    if longer:
        iran = replace(iran, cloze="a hot a " + iran.cloze)
    return iran, spain


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_a_into_a_changes_nothing(kind, model_class):
    model = tiny.model(kind, model_class)
    iran, spain = pair()
    same = replace(spain, cloze=iran.cloze)
    found = activation_patch(model, iran, same, neurons=everything(model))
    assert found["moved"] == pytest.approx(0, abs=1e-5)
    assert found["before"] == pytest.approx(found["in_source"], abs=1e-5)
    assert attribution_patch(model, iran, same, neurons=everything(model))[
        "estimated"
    ] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_everything_of_a_gives_the_answer_of_a(kind, model_class):
    """The last token is the same in both, so with every q, k, v and gate of A it answers as A."""
    model = tiny.model(kind, model_class)
    found = activation_patch(model, *pair(), neurons=everything(model))
    assert abs(found["in_source"] - found["before"]) > 1e-3
    assert found["after"] == pytest.approx(found["in_source"], abs=1e-4)
    assert found["share"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_estimate_is_right_for_little_changes(kind, model_class, monkeypatch):
    """A patch that goes a hundredth of the way moves the answer as the gradient says."""
    from culnig_tl.measure import patching

    model = tiny.model(kind, model_class)
    layout = layout_of(model)
    some = NeuronSet.of(layout, [Neuron(1, "gate", i) for i in (3, 8, 21)], "s")
    real, way = patching._in_source, 0.01
    there = patching._Pair.of(model, *pair()[::-1], neurons=some, align="end")
    base, _ = real(model, there, some)

    def nearer(model, pair, neurons):
        values, in_source = real(model, pair, neurons)
        return {key: t + way * (values[key] - t) for key, t in base.items()}, in_source

    monkeypatch.setattr(patching, "_in_source", nearer)
    moved = activation_patch(model, *pair(), neurons=some)["moved"]
    estimated = attribution_patch(model, *pair(), neurons=some)["estimated"]
    assert abs(estimated) > 1e-7
    assert moved == pytest.approx(estimated, rel=0.1, abs=3e-6)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_both_answers_in_one_pass_equal_one_pass_an_answer(kind, model_class):
    """Answers of one and of two tokens: the shorter is padded, and it changes nothing."""
    from culnig_tl.measure import patching
    from culnig_tl.measure.cuts import log_probability

    model = tiny.model(kind, model_class)
    made = patching._Pair.of(model, *pair(), neurons=everything(model), align="end")
    assert [len(prompt.label) for prompt in made.base] == [2, 1]
    with torch.no_grad():
        first, second = (float(log_probability(model, prompt)) for prompt in made.base)
    found = activation_patch(model, *pair(), neurons=everything(model))
    assert found["before"] == pytest.approx(first - second, abs=1e-5)
    values, _ = patching._in_source(model, made, everything(model))
    _, before = patching._estimated(model, made, everything(model), values=values)
    assert before == pytest.approx(first - second, abs=1e-5)


def test_unequal_lengths_are_aligned_from_the_end():
    model = tiny.bridge("llama")
    iran, spain = pair(longer=True)
    short = len(spain.cloze.split())
    for one, other in ((iran, spain), (spain, iran)):
        found = activation_patch(model, one, other, neurons=everything(model))
        assert found["positions"] == short


@pytest.mark.parametrize(
    ("align", "message"),
    [
        ("refuse", "q/Iran and q/Spain have 15 and 12 tokens: take prompts"),
        ("start", "unknown align 'start': choose from end, refuse"),
    ],
)
def test_unequal_lengths_are_refused(align, message):
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match=message):
        activation_patch(model, *pair(longer=True), neurons=everything(model), align=align)


def test_a_chat_model_is_asked_for_the_answers_own_texts():
    model = tiny.bridge("llama")
    expected = activation_patch(model, *pair(), neurons=everything(model))
    tokenizer_of(model).chat_template = "{{ messages[0]['content'] }}"
    assert activation_patch(model, *pair(), neurons=everything(model)) == expected


def test_the_same_answer_is_refused():
    iran, spain = pair()
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match="have the same answer 'hot bread'"):
        activation_patch(model, iran, replace(spain, answer=0), neurons=everything(model))


def test_pairs_ask_the_same_question():
    iran, spain = pair()
    iran = replace(iran, cloze="Question: what is eaten in Iran ? Answer:")
    spain = replace(spain, cloze="Question: what is eaten in Spain ? Answer:")
    other = replace(iran, id="o/Iran", cloze="Question: what is drunk in Iran ? Answer:")
    uk = replace(spain, id="q/UK", group="UK", cloze="Question: what is eaten in the UK ? Answer:")
    again = replace(iran, id="q/Iran/2", options=iran.options[:2], labels=("A", "B"))
    found = group_pairs([iran, spain, other, uk, again])
    assert {(a.id, b.id) for _, a, b in found} == {
        ("q/Iran", "q/Spain"),
        ("q/Spain", "q/Iran"),
        ("q/Iran", "q/UK"),
        ("q/UK", "q/Iran"),
    }  # Spain and the UK have the same answer


def test_pairs_of_the_bundled_task():
    """As many, in the same order, as when the question was told by its text alone."""
    instances = load_task("everyday", "neuron")
    by_text = group_pairs([replace(i, question_id="") for i in instances])
    assert len(by_text) == 8602
    found = group_pairs(instances)
    assert [(n, a.id, b.id) for n, a, b in found] == [(n, a.id, b.id) for n, a, b in by_text]


def test_pairs_by_the_question_they_ask():
    """A country that the text spells otherwise is found too."""
    iran, spain = pair()
    asked = {"question_id": "food-1"}
    iran = replace(iran, cloze="what is eaten in Persia ? Answer:", **asked)
    spain = replace(spain, cloze="what is eaten in Spain ? Answer:", **asked)
    assert len(group_pairs([iran, spain])) == 2
    assert group_pairs([iran, replace(spain, question_id="food-2")]) == []
    assert group_pairs([iran, replace(spain, template=1)]) == []


@pytest.fixture(scope="module")
def effects():
    """Of everything patched between two questions about their country by name.

    Their names are the tiny tokenizer's unknown word, so nothing moves; but it is a frame.
    """
    iran, spain = pair()
    iran = replace(iran, cloze=iran.cloze.replace("iran", "Iran"))
    spain = replace(spain, cloze=spain.cloze.replace("spain", "Spain"))
    model = tiny.bridge("llama")
    pairs = pair_preferences(model, [iran, spain]).assign(decided=True)
    return patching_effects(model, [iran, spain], everything(model), pairs=pairs)


def test_effects_of_both_directions(effects):
    assert list(effects["source"]) == ["Iran", "Spain"]


def test_effects_need_two_that_ask_the_same():
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match="no two instances ask the same question"):
        patching_effects(model, [pair()[0]], everything(model))


def test_the_matrix_is_of_source_and_target(effects):
    matrix = patching_matrix(effects, value="moved")
    assert list(matrix.index) == list(matrix.columns) == ["Iran", "Spain"]
    assert np.isnan(matrix.loc["Iran", "Iran"])
    assert matrix.loc["Iran", "Spain"] == pytest.approx(effects["moved"][0])


def test_a_matrix_of_no_such_value(effects):
    with pytest.raises(CulnigError, match="unknown value 'x': choose from moved, estimated, share"):
        patching_matrix(effects, value="x")


def several(count: int = 3):
    """Iran's and Spain's prompts of so many questions; which is preferred is set by the tests."""
    iran, spain = pair()
    return [
        replace(one, id=f"{number}/{one.group}", question_id=f"food-{number}")
        for number in range(count)
        for one in (iran, spain)
    ]


def test_preferences_are_those_of_the_patch():
    model = tiny.bridge("llama")
    iran, spain = several(1)
    pairs = pair_preferences(model, [iran, spain])
    assert list(pairs["source"]) == ["Iran", "Spain"]
    for (_, row), (source, base) in zip(
        pairs.iterrows(), ((iran, spain), (spain, iran)), strict=True
    ):
        found = activation_patch(model, source, base, neurons=everything(model))
        assert row["before"] == pytest.approx(found["before"], abs=1e-5)
        assert row["in_source"] == pytest.approx(found["in_source"], abs=1e-5)
        assert row["decided"] == (found["in_source"] > 0 > found["before"])


def test_only_decided_pairs_are_patched_one_of_each_question_first():
    model, instances = tiny.bridge("llama"), several()
    pairs = pair_preferences(model, instances)
    with pytest.raises(CulnigError, match="in none of 6 pairs does each prompt prefer its own"):
        patching_effects(model, instances, everything(model), pairs=pairs.assign(decided=False))
    pairs["decided"] = [False, True, True, True, True, True]
    found = patching_effects(model, instances, everything(model), pairs=pairs, limit=4)
    assert list(found["question"]) == [0, 1, 2, 1]
    assert list(found["source"]) == ["Spain", "Iran", "Iran", "Spain"]
    with pytest.raises(CulnigError, match="these pairs are not of these instances"):
        patching_effects(model, instances[:2], everything(model), pairs=pairs)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_scale_goes_from_nothing_to_everything(kind, model_class):
    model, instances = tiny.model(kind, model_class), several(2)
    pairs = pair_preferences(model, instances).assign(decided=True)
    scale = check_scale(model, instances, pairs, limit=2)
    assert len(scale) == 2
    assert scale["itself"].abs().max() < 1e-3
    assert scale["everything"].to_numpy() == pytest.approx(1, abs=0.01)


def test_a_scale_that_does_not_hold(monkeypatch):
    from culnig_tl.measure import patching

    model, instances = tiny.bridge("llama"), several(1)
    pairs = pair_preferences(model, instances).assign(decided=True)
    monkeypatch.setattr(patching, "_patched", lambda *a, **k: 0.5)
    with pytest.raises(CulnigError, match=r"patched into itself the base moves by [\d.]+ nats"):
        check_scale(model, instances, pairs)


def test_prompts_of_two_lengths_have_no_scale():
    model, instances = tiny.bridge("llama"), list(pair(longer=True))
    instances = [replace(one, question_id="food") for one in instances]
    pairs = pair_preferences(model, instances).assign(decided=True)
    assert list(check_scale(model, instances, pairs).columns) == [
        *("source_id", "target_id", "itself", "everything")
    ]
