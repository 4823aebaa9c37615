"""Instances that the model cannot tell apart are run once, and count as often as there are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny

from culnig_tl import attribute, evaluate
from culnig_tl.measure import attribution, evaluation

pytestmark = pytest.mark.model
FOODS = ("rice", "hot bread", "noodles with tea", "maize", "the old wine", "coffee")


def repeated() -> list:
    """Three questions, each three times: other wrong options in another order, one other country."""
    found = []
    for question in tiny.instances(3):
        for turn in range(3):
            wrong = [food for food in FOODS if food != question.answer_text][turn : turn + 3]
            options = (*wrong[:turn], question.answer_text, *wrong[turn:])
            country = "Spain" if turn == 2 else question.country
            found.append(
                replace(
                    question,
                    id=f"{question.id}/{turn}",
                    country=country,
                    options=options,
                    answer=turn,
                )
            )
    return found


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_scores_are_the_sum_of_those_one_by_one(kind, model_class):
    model, instances = tiny.model(kind, model_class), repeated()
    scores = attribute(model, instances)
    expected = np.zeros_like(scores.sums)
    for instance in instances:
        alone = attribute(model, [instance])
        expected[:, :, scores.countries.index(instance.country)] += alone.sums[:, :, 0]
    np.testing.assert_allclose(scores.sums, expected, rtol=1e-4, atol=1e-6)
    assert sum(scores.instances) == len(instances)


def test_each_different_row_is_scored_once(monkeypatch):
    seen, real = [], attribution.score_batch

    def watched(model, prompts, *arguments, **named):
        seen.extend(prompts)
        return real(model, prompts, *arguments, **named)

    monkeypatch.setattr(attribution, "score_batch", watched)
    attribute(tiny.bridge("llama"), repeated())
    assert len(seen) == 3


def test_a_clamped_row_is_another():
    model, (first, *_) = tiny.bridge("llama"), repeated()
    control = replace(first, id="control", split="control")
    both = attribute(model, [first, control])
    alone = [attribute(model, [one]).sums for one in (first, control)]
    np.testing.assert_allclose(both.sums, sum(alone), rtol=1e-4, atol=1e-6)
    assert not np.allclose(alone[0], alone[1])


def test_answers_that_weigh_nothing_are_all_counted(monkeypatch):
    monkeypatch.setattr(attribution, "_weight", lambda target, log_p, lengths: 0 * log_p)
    scores = attribute(tiny.bridge("llama"), repeated(), targets=["product"])
    assert scores.provenance["weightless"] == {"product": 9}


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
@pytest.mark.parametrize("most", [32, 4, 1])
def test_answers_are_those_one_by_one(monkeypatch, kind, model_class, most):
    monkeypatch.setattr(evaluation, "MOST_OPTIONS", most)
    model, instances = tiny.model(kind, model_class), repeated()
    frame = evaluate(model, instances)
    alone = pd.concat([evaluate(model, [one]) for one in instances], ignore_index=True)
    pd.testing.assert_frame_equal(frame, alone, rtol=1e-4)


def test_a_prompt_and_an_option_of_it_are_asked_once(monkeypatch):
    seen, real = [], evaluation.answer_log_probabilities

    def watched(model, prompts):
        seen.extend(prompts)
        return real(model, prompts)

    monkeypatch.setattr(evaluation, "answer_log_probabilities", watched)
    instances = repeated()
    evaluate(tiny.bridge("llama"), instances)
    assert len(seen) == 3
    asked = {(i.cloze, option) for i in instances for option in i.options}
    assert sum(len(prompt.options) for prompt in seen) == len(asked) < 4 * len(instances)


def test_the_bar_says_how_much_is_different(capsys):
    attribute(tiny.bridge("llama"), repeated())
    shown = capsys.readouterr().err
    assert "Attribution (3 of 9 different)" in shown
    assert "9/9" in shown
