"""Instances that the model cannot tell apart are run once, and count as often as there are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny

from culnig_tl import (
    NeuronSet,
    activation_shares,
    attribute,
    evaluate,
    perplexity,
    taylor_check,
)
from culnig_tl.measure import attribution, evaluation, generation, taylor
from culnig_tl.measure.generation import generate
from culnig_tl.models.description import layout_of

pytestmark = pytest.mark.model
FOODS = ("rice", "hot bread", "noodles with tea", "maize", "the old wine", "coffee")


def repeated() -> list:
    """Three questions, each three times: other wrong options in another order, one other country."""
    found = []
    for question in tiny.instances(3):
        for turn in range(3):
            wrong = [food for food in FOODS if food != question.answer_text][turn : turn + 3]
            options = (*wrong[:turn], question.answer_text, *wrong[turn:])
            country = "Spain" if turn == 2 else question.group
            found.append(
                replace(
                    question,
                    id=f"{question.id}/{turn}",
                    group=country,
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
        expected[:, :, scores.groups.index(instance.group)] += alone.sums[:, :, 0]
    np.testing.assert_allclose(scores.sums, expected, rtol=1e-4, atol=1e-6)
    assert sum(scores.instances) == len(instances)


def asked_of(instances: list, half: int) -> list:
    return [one for one in instances if one.half == half]


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_has_the_scores_of_its_questions(half):
    model, instances = tiny.bridge("llama"), tiny.different(12)
    part, alone = (
        attribute(model, instances).half(half),
        attribute(model, asked_of(instances, half)),
    )
    assert part.instances == tuple(
        alone.instances[alone.groups.index(country)] for country in part.groups
    )
    for country in part.groups:
        np.testing.assert_allclose(
            part.mean(groups=[country]), alone.mean(groups=[country]), rtol=1e-4, atol=1e-6
        )


def test_a_resample_counts_each_question_as_often_as_it_is_drawn():
    model, instances = tiny.bridge("llama"), tiny.different(8)
    scores = attribute(model, instances)
    for number in range(2):
        drawn = [attribution._draws(one.topic)[number] for one in instances]
        sums = sum(
            count * attribute(model, [one]).sums[0].sum(axis=1)
            for one, count in zip(instances, drawn, strict=True)
        )
        part = scores.resample(number)
        assert part.instances == (sum(drawn),)
        np.testing.assert_allclose(part.sums[0, :, 0], sums, rtol=1e-4, atol=1e-6)


def test_questions_are_drawn_once_on_average():
    drawn = np.array([attribution._draws(f"question {number}") for number in range(2000)])
    assert drawn.mean() == pytest.approx(1, abs=0.03)
    assert drawn.var() == pytest.approx(1, abs=0.05)


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
@pytest.mark.parametrize("budget", [None, 20, 1])
def test_answers_are_those_one_by_one(kind, model_class, budget):
    model, instances = tiny.model(kind, model_class), repeated()
    frame = evaluate(model, instances, token_budget=budget)
    alone = pd.concat([evaluate(model, [one]) for one in instances], ignore_index=True)
    pd.testing.assert_frame_equal(frame, alone, rtol=1e-4)


def test_a_prompt_and_an_option_of_it_are_asked_once(monkeypatch):
    seen, real = [], evaluation.answer_log_probabilities

    def watched(model, prompts, **named):
        seen.extend(prompts)
        return real(model, prompts, **named)

    monkeypatch.setattr(evaluation, "answer_log_probabilities", watched)
    instances = repeated()
    evaluate(tiny.bridge("llama"), instances)
    assert len(seen) == 3
    asked = {(i.cloze, option) for i in instances for option in i.options}
    assert sum(len(prompt.options) for prompt in seen) == len(asked) < 4 * len(instances)


def one_prompt(count: int = 40) -> list:
    """A control's prompt, which all instances share, with ever other options."""
    words = [f"{one} {other}" for one in FOODS for other in ("tea", "wine", "with wine", "rice")]
    (first, *_) = tiny.instances(1)
    return [
        replace(
            first,
            id=f"control-{number}",
            split="control",
            cloze="Answer:",
            options=tuple(words[(number + 5 * turn) % len(words)] for turn in range(4)),
            answer=number % 4,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_a_prompt_with_many_options_runs_once(monkeypatch, kind, model_class):
    widths, real = [], evaluation.kept_residuals

    def watched(model, tokens, *arguments, **named):
        widths.append(tuple(tokens.shape))
        return real(model, tokens, *arguments, **named)

    model, instances = tiny.model(kind, model_class), one_prompt()
    alone = pd.concat([evaluate(model, [one]) for one in instances], ignore_index=True)
    monkeypatch.setattr(evaluation, "kept_residuals", watched)
    frame = evaluate(model, instances, token_budget=16)
    pd.testing.assert_frame_equal(frame, alone, rtol=1e-4)
    prompt, *behind = widths
    assert prompt[0] == 1
    assert all(rows * steps <= 16 for rows, steps in behind)
    assert all(rows * (prompt[1] + steps) <= evaluation.COPIES * 16 for rows, steps in behind)


def test_options_that_begin_alike_run_once(monkeypatch):
    seen, real = [], evaluation._run_behind

    def watched(model, cache, pairs):
        seen.extend(sequence for _, sequence in pairs)
        return real(model, cache, pairs)

    monkeypatch.setattr(evaluation, "_run_behind", watched)
    (first, *_) = tiny.instances(1)
    # Of these only what `the old wine with tea` says before its last word has to run.
    options = ("the old wine with tea", "the old wine", "the old tea", "the wine")
    evaluate(tiny.bridge("llama"), [replace(first, options=options)])
    assert [len(sequence) for sequence in seen] == [4]


def everything_twice(instances: list) -> list:
    return [replace(one, id=f"{one.id}/{turn}") for one in instances for turn in range(2)]


def test_a_check_of_the_gradient_runs_an_instance_once(monkeypatch):
    seen, real = [], taylor._check_one

    def watched(model, instance, *arguments, **named):
        seen.append(instance.id)
        return real(model, instance, *arguments, **named)

    monkeypatch.setattr(taylor, "_check_one", watched)
    model = tiny.bridge("llama")
    neurons = NeuronSet(layout_of(model), np.arange(3), "few")
    frame = taylor_check(model, everything_twice(tiny.instances(2)), neurons, steps=0)
    assert seen == ["tiny-0/0", "tiny-1/0"]
    assert list(frame["instance"].unique()) == ["tiny-0/0", "tiny-0/1", "tiny-1/0", "tiny-1/1"]
    once = taylor_check(model, tiny.instances(2), neurons, steps=0)["exact"].to_numpy()
    expected = np.concatenate([once[:3], once[:3], once[3:], once[3:]])
    np.testing.assert_allclose(frame["exact"], expected)


def test_what_is_written_behind_a_sequence_is_written_once(monkeypatch):
    rows, real = [], generation._write

    def watched(model, sequences, *arguments, **named):
        rows.append(len(sequences))
        return real(model, sequences, *arguments, **named)

    model, sequences = tiny.bridge("llama"), [[3, 4, 5], [6, 7], [3, 4, 5]]
    expected = [generate(model, [one], max_new_tokens=3)[0] for one in sequences]
    monkeypatch.setattr(generation, "_write", watched)
    assert generate(model, sequences, max_new_tokens=3) == expected
    assert rows == [2]


TWICE = {"food": ["rice and tea"], "drink": ["green tea", "the old wine"], "same": ["rice and tea"]}


def test_a_text_of_two_groups_has_one_perplexity():
    model = tiny.bridge("llama")
    frame = perplexity(model, TWICE, context=8)
    alone = perplexity(model, {"same": TWICE["same"]}, context=8)
    assert frame.loc["food"].to_dict() == frame.loc["same"].to_dict()
    assert frame.loc["same"].to_dict() == pytest.approx(alone.loc["same"].to_dict())


def test_a_text_of_two_groups_is_counted_in_both():
    model = tiny.bridge("llama")
    shares = activation_shares(model, TWICE, context=8)
    alone = activation_shares(model, {"same": TWICE["same"]}, context=8)
    np.testing.assert_array_equal(shares.active[0], shares.active[2])
    np.testing.assert_array_equal(shares.active[2], alone.active[0])


def test_the_bar_says_how_much_is_different(capsys):
    attribute(tiny.bridge("llama"), repeated())
    shown = capsys.readouterr().err
    assert "Attribution (3 of 9 different)" in shown
    assert "9 of 9, in" in shown
