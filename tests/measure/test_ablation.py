"""Ablation and evaluation on tiny models: against zeroed weights, and against plain passes."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet, ablate, evaluate, neuron_layout
from culnig_tl.measure.ablation import ablation_hooks
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import Neuron, NeuronLayout
from culnig_tl.study.paper_models import PAPER_MODELS

pytestmark = pytest.mark.model
TABLE_12 = {
    "google/gemma-3-12b-it": [737280, 196608, 98304, 98304],
    "google/gemma-3-27b-it": [1333248, 253952, 126976, 126976],
    "Qwen/Qwen3-14B": [696320, 204800, 40960, 40960],
    "meta-llama/Llama-3.1-8B-Instruct": [458752, 131072, 32768, 32768],
    "microsoft/phi-4": [716800, 204800, 51200, 51200],
    "tiiuae/Falcon3-10B-Instruct": [921600, 122880, 40960, 40960],
}
TOKENS = torch.randint(2, 40, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TABLE_12)
def test_table_12(name):
    model = PAPER_MODELS[name]
    assert list(model.layout.counts().values()) == TABLE_12[name]
    assert model.layout == neuron_layout(model.config())


@pytest.mark.parametrize("kind", ["mixtral", "gpt2"])
def test_models_without_a_gate_are_refused(kind):
    with pytest.raises(CulnigError, match=f"model tiny-{kind} has no gate site: .*gated MLP"):
        tiny.bridge(kind)


@pytest.mark.parametrize(("kind", "model_class"), [m for m in tiny.MODELS if m[0] != "phi3"])
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_ablation_equals_scaled_weight_rows(kind, model_class, factor):
    model, hf = tiny.model(kind, model_class), tiny.hf_model(kind)
    layout = layout_of(model)
    chosen = [Neuron(0, "gate", 3), Neuron(1, "q", 17), Neuron(2, "k", 1), Neuron(1, "v", 9)]
    neurons = NeuronSet.of(layout, chosen)
    with torch.no_grad():
        for layer, site, index in chosen:
            block = hf.model.layers[layer]
            rows = (
                block.mlp.gate_proj if site == "gate" else getattr(block.self_attn, f"{site}_proj")
            )
            rows.weight[index] *= factor
        expected = hf(TOKENS).logits
        with ablate(model, neurons, factor=factor):
            found = model(TOKENS)
        by_run = model.run_with_hooks(
            TOKENS, fwd_hooks=ablation_hooks(model, neurons, factor=factor)
        )
        plain = model(TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(by_run, found)
    assert (plain - found).abs().max() > 1e-4


def test_hooks_are_gone_after_an_exception():
    model = tiny.bridge("llama")
    neurons = NeuronSet.of(layout_of(model), [Neuron(0, "gate", 3)])
    before = model(TOKENS)
    with pytest.raises(KeyError, match="mine"), ablate(model, neurons):
        raise KeyError("mine")
    assert torch.equal(model(TOKENS), before)
    assert all(not hook.fwd_hooks for hook in model.hook_dict.values())


def test_empty_set_changes_no_logit():
    model = tiny.bridge("llama")
    with ablate(model, NeuronSet.of(layout_of(model), [])):
        ablated = model(TOKENS)
    assert torch.equal(ablated, model(TOKENS))


def test_set_of_another_model_is_refused():
    with (
        pytest.raises(CulnigError, match="is of a model with 7 neurons .*, this one has 336"),
        ablate(
            tiny.bridge("llama"),
            NeuronSet(NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1])),
        ),
    ):
        pass


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
@pytest.mark.parametrize("masked", [False, True])
def test_evaluation_equals_one_pass_an_option(kind, model_class, masked):
    """Shared keys and values, left padding, multi-token options: against plain passes."""
    model, hf = tiny.model(kind, model_class), tiny.hf_model(kind)
    layout = layout_of(model)
    neurons = NeuronSet(layout, np.arange(0, layout.total, 5)) if masked else None
    instances = tiny.instances()
    frame = evaluate(model, instances, neurons)
    hooks = ablation_hooks(model, neurons) if neurons else []
    for prompt, (_, row) in zip(
        make_prompts(tokenizer_of(model), instances), frame.iterrows(), strict=True
    ):
        means, greedy = [], None
        for number, option in enumerate(prompt.options):
            tokens = torch.tensor([prompt.tokens + option])
            with torch.no_grad():
                logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[0].log_softmax(-1)
                if not masked:
                    torch.testing.assert_close(
                        logits, hf(tokens).logits[0].log_softmax(-1), atol=1e-4, rtol=1e-4
                    )
            steps = logits[len(prompt.tokens) - 1 : -1]
            chosen = steps[range(len(option)), list(option)]
            means.append(chosen.mean().item())
            if number == prompt.instance.answer:
                assert row["probability"] == pytest.approx(chosen.sum().exp().item(), rel=1e-4)
                greedy = steps.argmax(-1).tolist() == list(option)
        assert row["predicted"] == prompt.instance.options[int(np.argmax(means))]
        assert row["correct_vocabulary"] == greedy
        assert row["correct"] == (row["predicted"] == row["answer"])


def test_evaluation_with_credits():
    model, instances = tiny.bridge("llama"), tiny.instances()
    credits = (0.25, 0.5, 0.75, 1.0)
    plain = evaluate(model, instances)
    frame = evaluate(model, [replace(i, answer=3, credits=credits) for i in instances])
    assert list(frame["predicted"]) == list(plain["predicted"])
    for instance, (_, row) in zip(instances, frame.iterrows(), strict=True):
        assert row["correct"] == credits[instance.options.index(row["predicted"])]
        assert row["correct_vocabulary"] in (0.0, *credits)
    assert {frame[name].dtype.kind for name in ("correct", "correct_vocabulary")} == {"f"}
    # An option that greedy decoding writes keeps its credit when the answer is another one.
    written = plain["correct_vocabulary"].astype(bool)
    expected = [credits[i.answer] for i, is_it in zip(instances, written, strict=True) if is_it]
    assert (frame.loc[written, "correct_vocabulary"] >= expected).all()


def test_labels_must_split_and_be_known():
    instance = tiny.instances()[0]
    unknown = replace(instance, options=("rice", "hot bread", "zebra", "maize"))
    with pytest.raises(CulnigError, match="tiny-0: the label ' zebra' maps to an unknown token"):
        make_prompts(tiny.tokenizer(), [unknown], answer_format="cloze")

    def merging(texts, add_special_tokens):
        return {"input_ids": [[hash(text) % 97] for text in texts]}

    merging.chat_template = None
    merging.unk_token_id = None
    with pytest.raises(CulnigError, match="tiny-0: the label .* does not split from its prompt"):
        make_prompts(merging, [instance], answer_format="cloze")
