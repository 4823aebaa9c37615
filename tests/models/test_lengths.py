"""A text longer than the model's positions is refused first; a model's own ends end its texts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError
from culnig_tl.measure.activity import activation_shares
from culnig_tl.measure.answering import answer_questions
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.generation import end_tokens, generate
from culnig_tl.measure.patching import activation_patch
from culnig_tl.measure.perplexity import perplexity
from culnig_tl.measure.set_activations import set_activations
from culnig_tl.measure.set_effects import dose_response, interaction
from culnig_tl.measure.taylor import taylor_check
from culnig_tl.measure.token_view import token_attribution
from culnig_tl.models.configs import most_positions
from culnig_tl.models.description import layout_of, position_limit
from culnig_tl.models.wrapping import _keep_limits, wrap_model
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.short_questions import ShortQuestion
from culnig_tl.training.finetuning import finetune

LIMIT = 64
WORDS = "tea " * 80


def long_instance(tokens: int, number: int = 1):
    """An instance whose prompt and longest option, without its last token, have so many tokens."""
    known = {"id": f"long-{number}", "options": ("tea", "hot bread", "wine", "polo"), "answer": 0}
    return replace(tiny.instances(2)[number], cloze=WORDS[: 4 * (tokens - 1)].strip(), **known)


def some(model) -> NeuronSet:
    return NeuronSet(layout_of(model), np.array([0, 1]))


def question(words: str) -> ShortQuestion:
    return ShortQuestion(
        id="long-1", country="UK", language="en", question=words, prompt=words, answers=("tea",)
    )


INSTANCE = "instance long-1: 65 tokens, and the model has 64 positions: leave it out, shorten it"
TOO_LONG = {
    "attribute": (lambda m, i: attribute(m, [i]), INSTANCE),
    "evaluate": (lambda m, i: evaluate(m, [*tiny.instances(2), i]), INSTANCE),
    "exact_effects": (lambda m, i: exact_effects(m, i, some(m)), INSTANCE),
    "taylor_check": (lambda m, i: taylor_check(m, [i], some(m)), INSTANCE),
    "interaction": (lambda m, i: interaction(m, [i], some(m)), INSTANCE),
    "dose_response": (lambda m, i: dose_response(m, [i], some(m)), INSTANCE),
    "set_activations": (lambda m, i: set_activations(m, [i], some(m)), INSTANCE),
    "set_activations of texts": (
        lambda m, i: set_activations(m, tiny.instances(1), some(m), texts=[WORDS]),
        "text 1: 80 tokens, and the model has 64 positions",
    ),
    "token_attribution": (lambda m, i: token_attribution(m, i, some(m)), INSTANCE),
    "activation_patch": (
        lambda m, i: activation_patch(
            m, replace(i, answer=1), tiny.instances(3)[2], neurons=some(m), align="end"
        ),
        INSTANCE,
    ),
    "perplexity": (
        lambda m, i: perplexity(m, {"g": [WORDS]}, context=65),
        "a window of context 65: 65 tokens, and the model has 64 positions",
    ),
    "activation_shares": (
        lambda m, i: activation_shares(m, {"g": [WORDS]}, context=65),
        "a window of context 65: 65 tokens, and the model has 64 positions",
    ),
    "generate": (
        lambda m, i: generate(m, [[5] * 60], max_new_tokens=6),
        "sequence 0, 60 tokens with max_new_tokens 6: 65 tokens, and the model has 64 positions",
    ),
    "answer_questions": (
        lambda m, i: answer_questions(m, [question(WORDS[:240])], max_new_tokens=6),
        "question long-1, 60 tokens with max_new_tokens 6: 65 tokens, and the model has 64 positions",
    ),
}


@pytest.mark.model
@pytest.mark.parametrize("what", TOO_LONG)
def test_too_long(what):
    run, message = TOO_LONG[what]
    with pytest.raises(CulnigError, match=message):
        run(tiny.bridge("llama"), long_instance(65))


@pytest.mark.model
def test_too_long_where_another_has_its_id():
    short = replace(tiny.instances(1)[0], id=long_instance(65).id)
    for asked in ([long_instance(65), short], [short, long_instance(65)]):
        with pytest.raises(CulnigError, match="instance long-1: 65 tokens, and the model has 64"):
            evaluate(tiny.bridge("llama"), asked)


@pytest.mark.model
@pytest.mark.parametrize("too_long", ["train", "tests"])
def test_finetuning_too_long(tmp_path, too_long):
    train, tests = tiny.instances(4)[:2], tiny.instances(4)[2:]
    given = {"train": train, "tests": tests, too_long: [long_instance(65)]}
    with pytest.raises(CulnigError, match="instance long-1: 6. tokens, and the model has 64 posi"):
        finetune(tiny.hf_model("llama"), tiny.tokenizer(), out=tmp_path, device="cpu", **given)


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_all_positions_can_be_used(kind, model_class):
    model = tiny.model(kind, model_class)
    assert position_limit(model) == LIMIT
    frame = evaluate(model, [long_instance(LIMIT)])
    assert 0 < frame["probability"].item() < 1
    (written,) = generate(model, [[5] * 60], max_new_tokens=5)
    assert len(written) <= 5


@pytest.mark.model
def test_a_cap_of_transformer_lens_is_no_limit():
    if ("llama", "HookedTransformer") not in tiny.MODELS:
        pytest.skip("this TransformerLens has no HookedTransformer")
    model, hf = tiny.model("llama", "HookedTransformer"), tiny.hf_model("llama")
    hf.config.max_position_embeddings = 4096
    tokens = torch.arange(100)[None] % 30 + 2
    with torch.no_grad():
        with pytest.raises((IndexError, RuntimeError)):
            model(tokens)
        _keep_limits(model, hf)
        assert position_limit(model) == model.cfg.n_ctx == 4096
        torch.testing.assert_close(model(tokens), hf(tokens).logits, atol=1e-4, rtol=1e-4)


ROPE = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (tiny.config("llama"), 64),
        (tiny.config("gpt2"), 1024),
        (tiny.config("llama", rope_parameters={"rope_type": "yarn"} | ROPE), 128),
        (
            tiny.config(
                "llama",
                max_position_embeddings=512,
                rope_parameters={"rope_type": "llama3", "low_freq_factor": 1.0}
                | {"high_freq_factor": 4.0}
                | ROPE,
            ),
            512,
        ),
        (SimpleNamespace(max_position_embeddings=None), None),
        (SimpleNamespace(max_position_embeddings=-1), None),
        (SimpleNamespace(), None),
    ],
)
def test_positions_of_a_configuration(config, limit):
    if isinstance(config, SimpleNamespace):
        config.get_text_config = lambda: config
    assert most_positions(config) == limit


def test_a_model_without_a_limit():
    model = tiny.bridge("llama")
    config = SimpleNamespace(eos_token_id=0)
    config.get_text_config = lambda: config
    _keep_limits(model, SimpleNamespace(config=config))
    assert position_limit(model) is None
    assert len(evaluate(model, [long_instance(65)])) == 1


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
@pytest.mark.parametrize("where", ["generation_config", "config"])
def test_a_models_own_ends(kind, model_class, where, monkeypatch):
    (whole,) = generate(tiny.model(kind, model_class), [[5, 6]], max_new_tokens=8)
    end = whole[len(whole) // 2]  # a common word
    expected = whole[: whole.index(end)]
    other = next(token for token in range(3, 40) if token not in whole)
    for ends in (end, [other, end]):
        hf = tiny.hf_model(kind)
        getattr(hf, where).eos_token_id = ends
        monkeypatch.setattr(tiny, "hf_model", lambda *a, hf=hf, **b: hf)
        model = tiny.model(kind, model_class)
        monkeypatch.undo()
        assert {end, 0} <= end_tokens(model)
        assert (other in end_tokens(model)) == isinstance(ends, list)
        assert generate(model, [[5, 6]], max_new_tokens=8) == [expected]


@pytest.mark.model
def test_no_ends_of_its_own():
    hf = tiny.hf_model("llama", eos_token_id=None)
    hf.generation_config.eos_token_id = None
    model = wrap_model(hf, tiny.tokenizer(), name="tiny", model_class="TransformerBridge")
    assert end_tokens(model) == {0}  # the tokenizer's
