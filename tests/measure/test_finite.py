"""A model that overflows: whatever reads its logits or activations refuses, by the instance."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from culnig_tl import (
    CulnigError,
    activation_patch,
    activation_shares,
    attribute,
    attribution_patch,
    dose_response,
    evaluate,
    exact_effects,
    faithfulness_curve,
    finetune,
    interaction,
    joint_path,
    pair_preferences,
    patching_effects,
    perplexity,
    perplexity_increase,
    taylor_check,
    token_attribution,
    top_effects,
    wrap_model,
)
from culnig_tl.analysis.agreement import agreement
from culnig_tl.measure.answering import answer_questions
from culnig_tl.measure.generation import generate
from culnig_tl.measure.writes import written_tokens
from culnig_tl.models.description import layout_of
from culnig_tl.models.finite import check_finite
from culnig_tl.neurons.lape import ActivationShares
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.arguments import Study
from culnig_tl.study.lm_eval import _check_metrics, _table
from culnig_tl.study.once import evaluation_once
from culnig_tl.tasks.short_questions import ShortQuestion
from culnig_tl.training.settings import Training

ONE, OTHER = (
    replace(
        tiny.instances()[0],
        id=f"in {country}",
        group=country,
        answer=answer,
        cloze=f"Question : what do people in {country} eat ? Answer:",
    )
    for country, answer in (("Iran", 0), ("Spain", 3))
)
BOTH = [ONE, OTHER]
RANKING = np.arange(336.0)
PAIRS = pd.DataFrame(
    {
        "source": ["Iran", "Spain"],
        "target": ["Spain", "Iran"],
        "question": 0,
        "instance": 0,
        "decided": True,
    }
)
TEXTS = {"a": ["what do people eat with tea"], "b": ["tea is hot on the green"]}
QUESTION = ShortQuestion(
    id="q-7",
    country="Iran",
    language="en",
    question="what ?",
    prompt="what do people eat ?",
    answers=("rice",),
)


def broken_model(how: str):
    """A bridge with finite weights whose logits are infinite, or with one NaN in its weights."""
    hf = tiny.hf_model("llama")
    with torch.no_grad():
        if how == "infinite":
            hf.model.norm.weight.mul_(1e30)
            hf.lm_head.weight.mul_(1e30)
        if how == "NaN":
            hf.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    return wrap_model(
        hf, tiny.tokenizer(), name="tiny-llama", model_class="TransformerBridge", device="cpu"
    )


@cache
def broken(how: str):
    return broken_model(how)


@cache
def some() -> NeuronSet:
    layout = layout_of(broken("fine"))
    return NeuronSet.of(layout, [Neuron(0, "gate", 1), Neuron(1, "q", 2), Neuron(2, "gate", 3)])


def nan_writer() -> NeuronSet:
    """The neuron of the weight that is NaN in a broken model."""
    return NeuronSet.of(layout_of(broken("fine")), [Neuron(1, "gate", 0)])


def one_set(call):
    return lambda model: call(model, some())


READS_LOGITS = {
    "attribute": lambda m: attribute(m, BOTH),
    "evaluate": lambda m: evaluate(m, BOTH),
    "evaluate letters": lambda m: evaluate(m, BOTH, answer_format="letter"),
    "dose_response": one_set(lambda m, s: dose_response(m, BOTH, s, factors=(1.0,))),
    "exact_effects": one_set(lambda m, s: exact_effects(m, ONE, s)),
    "exact_effects each": one_set(lambda m, s: exact_effects(m, ONE, s, positions="each")),
    "taylor_check": one_set(lambda m, s: taylor_check(m, BOTH, s)),
    "interaction": one_set(lambda m, s: interaction(m, BOTH, s)),
    "token_attribution": one_set(lambda m, s: token_attribution(m, ONE, s)),
    "activation_patch": one_set(lambda m, s: activation_patch(m, ONE, OTHER, neurons=s)),
    "attribution_patch": one_set(lambda m, s: attribution_patch(m, ONE, OTHER, neurons=s)),
    "patching_effects": one_set(lambda m, s: patching_effects(m, BOTH, s, pairs=PAIRS)),
    "pair_preferences": lambda m: pair_preferences(m, BOTH),
    "joint_path": one_set(lambda m, s: joint_path(m, ONE, s, steps=2)),
    "top_effects": lambda m: top_effects(m, ONE, 2, share=0.01),
    "faithfulness_curve": lambda m: faithfulness_curve(m, BOTH, RANKING, shares=(0.1,), seeds=0),
}
NAMED = {
    "written_tokens": (lambda m: written_tokens(m, nan_writer()), "layer 1, gate 0: its logits"),
    "generate": (lambda m: generate(m, [[3, 4], [5]], max_new_tokens=2), "sequence 0: its logits"),
    "answer_questions": (
        lambda m: answer_questions(m, [QUESTION], max_new_tokens=2),
        "question q-7: its logits",
    ),
    "perplexity": (lambda m: perplexity(m, TEXTS), "group 'a', token 0: its log-probabilities"),
    "perplexity_increase": (
        lambda m: perplexity_increase(m, TEXTS, {"a": some()}),
        "group 'a', token 0: its log-probabilities",
    ),
}


@pytest.mark.model
@pytest.mark.parametrize("how", ["infinite", "NaN"])
@pytest.mark.parametrize("name", [*READS_LOGITS, *NAMED])
def test_logits_that_are_no_numbers_are_refused(name, how):
    call, message = NAMED.get(name, (READS_LOGITS.get(name), r"instance in (Iran|Spain): its "))
    with pytest.raises(CulnigError, match=rf"^{message}.* are NaN or infinite; .*float32"):
        call(broken(how))


@pytest.mark.model
@pytest.mark.parametrize("name", READS_LOGITS)
def test_an_impossible_answer_is_refused(name):
    """log P of minus infinity: one token of `rice` and `maize` has no probability at all."""
    letters = "letters" in name

    def forbid(logits, hook):
        logits = logits.clone()
        for word in "A D".split() if letters else ("hot", "rice", "maize"):
            logits[..., tiny.WORDS.index(word)] = -torch.inf
        return logits

    model = broken("fine")
    with (
        model.hooks(fwd_hooks=[("unembed.hook_out", forbid)]),
        pytest.raises(CulnigError, match="instance in (Iran|Spain): its .* NaN or infinite"),
    ):
        READS_LOGITS[name](model)


def hidden_nan(model, value: float = torch.nan):
    """A gate neuron of the last layer overflows at the first token, where no logit depends on it."""

    def overflow(activation, hook):
        if activation.shape[1] < 5:  # an option's further tokens, after the cached prompt
            return activation
        activation = activation.clone()
        activation[:, 0, 3] = value
        return activation

    return model.hooks(fwd_hooks=[("blocks.2.mlp.hook_pre", overflow)])


READS_ACTIVATIONS = [name for name in READS_LOGITS if "evaluate" not in name]
NOT_THEM = ("dose_response", "pair_preferences", "faithfulness_curve")
READS_ACTIVATIONS = [name for name in READS_ACTIVATIONS if name not in NOT_THEM]


@pytest.mark.model
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", READS_ACTIVATIONS)
def test_activations_that_are_no_numbers_are_refused(name, value):
    model = broken("fine")
    with (
        hidden_nan(model, value),
        pytest.raises(CulnigError, match="instance in (Iran|Spain): its .* NaN or infinite"),
    ):
        READS_LOGITS[name](model)


@pytest.mark.model
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_activation_shares_refuse_what_they_cannot_count(value):
    model = broken("fine")
    with (
        hidden_nan(model, value),
        pytest.raises(CulnigError, match="group 'a', token 0: its activations are NaN or inf"),
    ):
        activation_shares(model, TEXTS)


@pytest.mark.model
def test_logits_that_are_numbers_are_taken_whatever_the_activations():
    model = broken("fine")
    expected = evaluate(model, BOTH, token_budget=1)
    with hidden_nan(model):
        assert evaluate(model, BOTH, token_budget=1).equals(expected)


@pytest.mark.model
def test_a_probability_that_underflows_is_taken():
    """log P is a number, -2,000 or so, and P is 0 in floating point: an answer like any other."""
    hf = tiny.hf_model("llama")
    with torch.no_grad():
        hf.lm_head.weight.mul_(3e3)
    model = wrap_model(
        hf, tiny.tokenizer(), name="tiny-llama", model_class="TransformerBridge", device="cpu"
    )
    frame = evaluate(model, tiny.instances())
    assert (frame["probability"] == 0).any()
    assert np.isfinite(frame["probability"]).all()
    unlikely = frame.index[frame["probability"] == 0][0]
    with pytest.raises(CulnigError, match=r"P\(y\|x\) of instance tiny-\d+ is 0 in floating point"):
        interaction(model, tiny.instances()[unlikely : unlikely + 1], some())


@pytest.mark.model
def test_nothing_is_saved_of_what_is_refused(tmp_path):
    model, file = broken("NaN"), tmp_path / "evaluations" / "original.csv"
    for call in (
        partial(evaluation_once, file, lambda: model, BOTH, study=Study()),
        partial(attribute, model, BOTH, checkpoint=tmp_path / "c.safetensors"),
        partial(exact_effects, model, ONE, some(), checkpoint=tmp_path / "e.safetensors"),
        partial(taylor_check, model, BOTH, some(), checkpoint=tmp_path / "finished"),
        partial(activation_shares, model, TEXTS, checkpoint=tmp_path / "s.safetensors"),
    ):
        with pytest.raises(CulnigError, match="NaN or infinite"):
            call()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.model
def test_a_loss_that_is_none_stops_the_training(tmp_path):
    # As a rate within bounds may do to a model in half precision.
    training = Training(steps=2, batch=2, evaluate_every=2)
    object.__setattr__(training, "learning_rate", 1e30)
    train, tests = (
        tiny.instances(8),
        [replace(i, id=f"t{i.id}", cloze=f"a {i.cloze}") for i in BOTH],
    )
    with pytest.raises(
        CulnigError, match=r"the loss at step 2 is nan: lower learning_rate \(1e\+3"
    ):
        finetune(
            tiny.hf_model("llama"), tiny.tokenizer(), train, tests=tests, out=tmp_path,
            training=training, device="cpu",
        )  # fmt: skip
    assert {path.name for path in (tmp_path / "evaluations").iterdir()} == {"step-0.csv"}
    assert not (tmp_path / "result.json").exists()


def test_texts_too_short_to_predict_anything():
    with pytest.raises(CulnigError, match="group 'b' has no token that another one comes before"):
        perplexity(broken("fine"), {"a": ["green tea"], "b": ["tea"]})


def test_shares_of_a_group_without_a_token():
    empty = ActivationShares(
        layout=layout_of(broken("fine")),
        groups=("a", "b"),
        tokens=(3, 0),
        active=np.zeros((2, 144), dtype=int),
        provenance={},
    )
    with pytest.raises(CulnigError, match="group 'b' has no token: count again"):
        empty.frame()


def test_weights_of_an_unlikely_answer_are_counted(caplog):
    """2 log P below -104 is a weight of 0 in float32; the target `log` weighs all the same."""
    hf = tiny.hf_model("llama")
    with torch.no_grad():
        hf.lm_head.weight.mul_(3e3)
    model = wrap_model(
        hf, tiny.tokenizer(), name="tiny-llama", model_class="TransformerBridge", device="cpu"
    )
    scores = attribute(model, tiny.instances(), targets=["product", "log"])
    count = scores.provenance["weightless"]["product"]
    assert 0 < count <= 12
    assert f"{count} of 12 instances weigh 0 for the target 'product'" in caplog.text
    assert "weightless" not in attribute(broken("fine"), tiny.instances()).provenance


def test_the_first_name_is_told():
    check_finite(torch.tensor([1.0, 2.0]), ["a", "b"], "scores")
    check_finite([], [], "scores")
    with pytest.raises(CulnigError, match="^b: its scores are NaN or infinite; drop it"):
        check_finite(torch.tensor([[1.0, 2.0], [3.0, torch.inf]]), ["a", "b"], "scores")


def left_by_the_harness(value):
    return {"results": {"t": {"acc,none": value, "acc_stderr,none": float("nan"), "alias": "t"}}}


def test_an_error_of_a_single_document_may_be_none():
    _check_metrics(left_by_the_harness(0.5), "original")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_of_the_harness_that_is_none(value):
    with pytest.raises(CulnigError, match=f"lm-eval's acc of 't' is {value} with 'random-0'"):
        _check_metrics(left_by_the_harness(value), "random-0")


def test_a_metric_of_the_harness_that_one_set_has_not():
    other = {"results": {"t": {"f1,none": 0.5}}}
    found = {"original": left_by_the_harness(0.5) | {"n-samples": {}}, "culture-general": other}
    with pytest.raises(
        CulnigError, match="lm-eval gave no 'acc,none' of 't' with 'culture-general"
    ):
        _table(found)


EFFECTS = pd.DataFrame(
    {
        "instance": ["x"] * 3 + ["y"] * 3, "site": "q", "probability": 0.5,
        "first_order": [1.0, 2.0, 3.0] * 2, "exact": [1.0, 2.0, 4.0] * 2,
    }
)  # fmt: skip


def test_agreement_of_effects():
    assert agreement(EFFECTS).loc["q", "spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_agreement_of_effects_that_are_none(value):
    bad = EFFECTS.assign(exact=[1.0, 2.0, 4.0, 1.0, value, 4.0])
    with pytest.raises(CulnigError, match=f"exact of 'y' is {value} in these effects"):
        agreement(bad)


def test_agreement_of_effects_that_are_all_the_same():
    with pytest.raises(CulnigError, match="'first_order' is the same for all neurons of instance"):
        agreement(EFFECTS.assign(first_order=0.0))


def test_agreement_leaves_out_an_instance_whose_effects_are_all_the_same(caplog):
    half = EFFECTS.assign(first_order=[1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    assert agreement(half).loc["q", "spearman"] == pytest.approx(1.0)
    assert "'first_order' is the same for all neurons of instance 'y' (1 of 2 such)" in caplog.text


def test_agreement_of_effects_too_few_to_tell(caplog):
    agreement(EFFECTS.iloc[[0, 1, 3]])
    assert caplog.text == ""
