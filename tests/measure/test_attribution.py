"""Attribution against gradient x activation read off the Hugging Face modules, and its laws."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, attribute, load_model, load_task, wrap_model
from culnig_tl.files import half_written_name
from culnig_tl.measure import attribution
from culnig_tl.measure.attribution import reduce_positions
from culnig_tl.models.classes import HookedTransformer
from culnig_tl.models.description import layout_of, projection_biases, tokenizer_of
from culnig_tl.models.loading import load_hf_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.scores import TARGETS, VARIANTS

pytestmark = pytest.mark.model


def site_outputs(hf):
    """Per (layer, site) a function that reads that site's output, [1, pos, neurons], with grad."""
    outputs, handles = {}, []
    heads, keys = hf.config.num_attention_heads, hf.config.num_key_value_heads
    d_head = getattr(hf.config, "head_dim", None) or hf.config.hidden_size // heads
    for number, layer in enumerate(hf.model.layers):
        parts = {}
        if hasattr(layer.mlp, "gate_proj"):
            parts[layer.mlp.gate_proj] = [("gate", hf.config.intermediate_size)]
            for site in "qkv":
                parts[getattr(layer.self_attn, f"{site}_proj")] = [(site, None)]
        else:
            parts[layer.mlp.gate_up_proj] = [("gate", hf.config.intermediate_size)]
            qkv = [("q", heads * d_head), ("k", keys * d_head), ("v", keys * d_head)]
            parts[layer.self_attn.qkv_proj] = qkv
        for module, sites in parts.items():

            def keep(module, inputs, output, number=number, sites=sites):
                output.retain_grad()
                start = 0
                for site, size in sites:
                    size = size or output.shape[-1]
                    outputs[number, site] = (output, slice(start, start + size))
                    start += size

            handles.append(module.register_forward_hook(keep))
    return outputs, handles


def target_of(log_p, tokens, target):
    """T of `Scores`, and what an instance weighs."""
    if target == "log":
        return log_p / tokens, 1.0
    value = log_p.exp() if target == "product" else (log_p / tokens).exp()
    return value, value.item()


def oracle(hf, prompts, layout, targets):
    """[target, variant, neuron]: sums of T * score, an instance at a time, unpadded, by autograd."""
    sums = np.zeros((len(targets), 3, layout.total))
    outputs, handles = site_outputs(hf)
    for prompt, (row, target) in itertools.product(prompts, enumerate(targets)):
        tokens = torch.tensor([prompt.tokens + prompt.label])
        logits = hf(input_ids=tokens, use_cache=False).logits[0].log_softmax(-1)
        start = len(prompt.tokens)
        log_p = torch.stack([logits[start - 1 + i, y] for i, y in enumerate(prompt.label)]).sum()
        value, weight = target_of(log_p, len(prompt.label), target)
        hf.zero_grad()
        value.backward()
        for (layer, site), (output, span) in outputs.items():
            # The last token is only a label: ours does not run it, and its gradient is zero.
            s = (output * output.grad)[0, :-1, span].detach()
            variants = torch.stack([s.amax(0), s.mean(0), s.sum(0)])
            sums[row, :, layout.span(layer, site)] += (weight * variants).numpy()
    for handle in handles:
        handle.remove()
    return sums


def assert_parity(
    hf, model, instances, tolerance, targets=TARGETS, answer_format="cloze", **options
):
    layout = layout_of(model)
    prompts = make_prompts(tokenizer_of(model), instances, answer_format=answer_format)
    expected = oracle(hf, prompts, layout, targets)
    scores = attribute(
        model, instances, answer_format=answer_format, clamp_control=False, **options
    )
    for row, target in enumerate(targets):
        found = scores.sums[scores.targets.index(target)].sum(axis=1)
        for number, variant in enumerate(VARIANTS):
            scale = np.abs(expected[row, number]).max()
            assert scale > 0
            error = np.abs(found[number] - expected[row, number]).max() / scale
            assert error < tolerance, (target, variant, error)


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_parity_with_hugging_face_tiny(kind, model_class):
    assert_parity(tiny.hf_model(kind), tiny.model(kind, model_class), tiny.instances(), 1e-4)


@pytest.mark.slow  # loading compares a model with Hugging Face's by itself (test_faithful)
@tiny.needs_gemma
@pytest.mark.gemma
@pytest.mark.parametrize("model_class", ["HookedTransformer", "TransformerBridge"])
def test_parity_with_hugging_face_gemma(model_class):
    from transformers import AutoModelForCausalLM

    from culnig_tl.models.embedded import embedded_folder

    if (model_class == "HookedTransformer") == (HookedTransformer is None):
        pytest.skip("HookedTransformer with TransformerLens 3, TransformerBridge with 4")
    # float64, because in float32 the two implementations' own rounding comes near to 1e-4. One
    # instance a batch: transformers' softmax is float32, where float64's mask value is -inf and
    # rows of padding become NaN.
    hf = AutoModelForCausalLM.from_pretrained(
        embedded_folder(), dtype=torch.float64, attn_implementation="eager"
    ).eval()
    model = load_model(model_class=model_class, dtype="float64", device="cpu")
    one = load_task("countryrc", "neuron", limit=1)
    assert_parity(hf, model, one, 1e-4, targets=["product"], token_budget=1)


@pytest.mark.slow
@tiny.needs_smollm2
def test_parity_with_hugging_face_letter_format():
    """The second real model: Llama's architecture, and prompts through its chat template."""
    hf, _ = load_hf_model("SmolLM2-135M-Instruct", dtype="float64")
    model = load_model("SmolLM2-135M-Instruct", dtype="float64", device="cpu")
    one = load_task("everyday", "neuron", limit=1)
    options = {"answer_format": "letter", "token_budget": 1}
    assert_parity(hf, model, one, 1e-4, targets=["product"], **options)


def projections(layer, layout):
    """By site: the weight of a Hugging Face layer that holds its rows, and which rows these are."""
    attention, mlp = layer.self_attn, layer.mlp
    if hasattr(mlp, "gate_proj"):
        parts = {"gate": mlp.gate_proj, **{s: getattr(attention, f"{s}_proj") for s in "qkv"}}
        return {site: (part.weight, slice(None)) for site, part in parts.items()}
    ends = np.cumsum([layout.q, layout.k, layout.v])
    rows = {
        site: slice(end - getattr(layout, site), end) for site, end in zip("qkv", ends, strict=True)
    }
    joint = {site: (attention.qkv_proj.weight, where) for site, where in rows.items()}
    return {"gate": (mlp.gate_up_proj.weight, slice(0, layout.gate)), **joint}


def with_joint_biases(hf):
    """Phi-3 with biases in its joint matrices, which its configuration has no argument for."""
    for layer in hf.model.layers:
        for part in (layer.self_attn.qkv_proj, layer.mlp.gate_up_proj):
            part.bias = torch.nn.Parameter(torch.randn(part.out_features) * 0.5)
    return hf


BIASED = [("qwen2", "TransformerBridge"), ("llama with biases", "TransformerBridge")]
BIASED += [("phi3 with biases", "TransformerBridge")]
if HookedTransformer is not None:
    BIASED += [("qwen2", "HookedTransformer")]
UNBIASED = [(kind, "TransformerBridge") for kind in ("llama", "qwen3", "gemma3")]


@pytest.mark.parametrize(("kind", "model_class"), UNBIASED + BIASED)
def test_norm_is_weight_times_weight_gradient(kind, model_class):
    """norm = w . dP/dw for each weight row (METHOD section 3), against literal weight gradients."""
    if kind == "phi3 with biases":
        hf, twin = (with_joint_biases(tiny.hf_model("phi3")) for _ in range(2))
        twin.load_state_dict(hf.state_dict())
        model = wrap_model(twin, tiny.tokenizer(), name="tiny-phi3", model_class=model_class)
    else:
        hf, model = tiny.hf_model(kind), tiny.model(kind, model_class)
    biased = (kind, model_class) in BIASED
    assert (len(projection_biases(model)) > 0) == biased
    instance = tiny.instances()[3:4]
    layout = layout_of(model)
    (prompt,) = make_prompts(tokenizer_of(model), instance, answer_format="cloze")
    tokens = torch.tensor([prompt.tokens + prompt.label])
    logits = hf(input_ids=tokens[:, :-1], use_cache=False).logits[0].log_softmax(-1)
    start = len(prompt.tokens)
    p = torch.stack([logits[start - 1 + i, y] for i, y in enumerate(prompt.label)]).sum().exp()
    p.backward()
    # Beside a shorter one, so that there is padding.
    scores = attribute(
        model, [*instance, replace(tiny.instances()[1], group="Spain")], answer_format="cloze"
    )
    found = scores.mean(variant="norm", groups=[instance[0].group], target="product")
    for number, layer in enumerate(hf.model.layers):
        for site, (w, rows) in projections(layer, layout).items():
            literal = (w * w.grad).sum(1)[rows].detach().numpy() * p.item()
            np.testing.assert_allclose(
                found[layout.span(number, site)], literal, atol=1e-4 * np.abs(found).max()
            )
    if biased:  # its sum of n dP/dn is another number
        mean = scores.mean(variant="mean", groups=[instance[0].group], target="product") * len(
            prompt.sequence
        )
        assert np.abs(found - mean).max() > 0.1 * np.abs(found).max()


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_independent_of_batch_order_and_padding(kind, model_class):
    model, instances = tiny.model(kind, model_class), tiny.instances()
    together = attribute(model, instances, token_budget=10_000)
    alone = attribute(model, instances[::-1], token_budget=1)
    for variant, target in itertools.product(VARIANTS, TARGETS):
        a, b = (
            together.mean(variant=variant, groups=None, target=target),
            alone.mean(variant=variant, groups=None, target=target),
        )
        assert np.abs(a - b).max() < 1e-5 * np.abs(a).max()


def test_linear_toy_equals_zero_ablation():
    """y = sum of w_i n_i over positions: the summed score is exactly what zeroing takes away."""
    n = torch.tensor([[[1.0, -2.0], [3.0, 0.5]]])
    w = torch.tensor([2.0, -3.0])
    gradient = w.expand_as(n)
    effect = torch.stack([(n[..., i] * w[i]).sum() for i in range(2)])
    variants = reduce_positions(n, gradient, torch.ones(1, 2, dtype=torch.long), padded=0)
    assert torch.equal(variants[2, 0], effect)
    assert variants[0, 0].tolist() == [6.0, 6.0]  # max: 3*2 and -2*-3
    masked = reduce_positions(n, gradient, torch.tensor([[1, 0]]), padded=2)
    assert masked[0, 0].tolist() == [2.0, 6.0]  # the second position is padding


def test_control_scores_are_clamped_per_instance():
    model = tiny.bridge("llama")
    control = [replace(i, split="control") for i in tiny.instances()]
    assert attribute(model, control).sums.min() >= 0
    assert attribute(model, control, clamp_control=False).sums.min() < 0


def test_targets_by_argument():
    model, instances = tiny.bridge("llama"), tiny.instances()
    whole = attribute(model, instances)
    assert whole.targets == ("log", "product", "geometric")  # the default of cloze first
    assert attribute(model, instances, answer_format="letter").targets[0] == "product"
    some = attribute(model, instances, targets=["geometric"])
    assert some.targets == ("geometric",)
    assert np.array_equal(some.mean(), whole.mean(target="geometric"))
    for targets, message in ((["odds"], "unknown target 'odds': choose"), ([], "no target: choos")):
        with pytest.raises(CulnigError, match=f"{message}.*product, geometric, log"):
            attribute(model, instances, targets=targets)


def test_nothing_is_left_behind():
    model = tiny.bridge("llama")
    attribute(model, tiny.instances())
    assert all(not hook.fwd_hooks and not hook.bwd_hooks for hook in model.hook_dict.values())
    assert all(w.requires_grad and w.grad is None for w in model.original_model.parameters())
    assert not model.training


def test_not_finite_names_the_instance():
    model = tiny.bridge("llama")
    with torch.no_grad():
        model.original_model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(CulnigError, match=r"instance tiny-\d+: its scores are NaN or infinite"):
        attribute(model, tiny.instances())


def test_out_of_memory_in_a_backward_pass_counts_nothing_twice(monkeypatch):
    model, instances = tiny.bridge("llama"), tiny.different(12)
    whole = attribute(model, instances)
    real, sizes = attribution.reduce_positions, []

    def fails(activation, gradient, mask, **options):
        sizes.append(len(mask))
        if len(sizes) == 3:  # in the middle of the first batch
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(activation, gradient, mask, **options)

    monkeypatch.setattr(attribution, "reduce_positions", fails)
    halved = attribute(model, instances)
    assert max(sizes[3:]) < sizes[0] == len(instances)
    assert np.abs(halved.sums - whole.sums).max() <= 1e-5 * np.abs(whole.sums).max()
    assert all(not hook.fwd_hooks and not hook.bwd_hooks for hook in model.hook_dict.values())


def test_out_of_memory_twice_says_what_to_lower(monkeypatch):
    def fails(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("culnig_tl.measure.attribution.score_batch", fails)
    with pytest.raises(CulnigError, match="lower token_budget .--token-budget., now"):
        attribute(tiny.bridge("llama"), tiny.instances(), token_budget=99)


def test_checkpoint_of_another_run(tmp_path):
    model, path = tiny.bridge("llama"), tmp_path / "c.safetensors"
    attribute(model, tiny.instances(), checkpoint=path)
    with pytest.raises(CulnigError, match="belongs to another run"):
        attribute(model, tiny.instances(8), checkpoint=path)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import tiny
from culnig_tl import attribute
import culnig_tl.measure.attribution as a
real = a.score_batch
def slow(*args, **kwargs):
    import time; time.sleep(0.2); return real(*args, **kwargs)
a.score_batch = slow
attribute(tiny.bridge("llama"), tiny.instances(16), token_budget=1,
          checkpoint={path!r}, checkpoint_seconds=0)
"""


def test_killed_run_resumes_bit_for_bit(tmp_path):
    path = tmp_path / "c.safetensors"
    child = CHILD.format(tests=str(Path(tiny.__file__).parent), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", child], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    from culnig_tl.tensors import read_tensors

    tensors, _ = read_tensors(path, "culnig_tl checkpoint, version 4")
    assert 0 < len(tensors["done"]) < 16
    (tmp_path / half_written_name().replace(f"-{os.getpid()}-", f"-{process.pid}-")).write_bytes(
        b"half written"
    )
    model, instances = tiny.bridge("llama"), tiny.instances(16)
    whole = attribute(model, instances, token_budget=1)
    resumed = attribute(model, instances, token_budget=1, checkpoint=path)
    assert np.array_equal(whole.sums, resumed.sums)
    assert list(tmp_path.iterdir()) == [path]
