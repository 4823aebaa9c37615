"""Does a GPU find what the CPU finds, and bfloat16 what float32 does, on a paper-sized model?

The first layers of the configuration of one of the paper's models, with random weights. Held
beside each other are the scores (`attribute`): on the CPU and on the device, in float32 and in
bfloat16, in one batch and in many; the true effects (`exact_effects`): against one
`run_with_hooks` a neuron; and the hooked model's logits against those of the model it wraps.

    python benchmarks/parity.py --device cuda --random google/gemma-3-12b-it --layers 6

Random weights say that the same numbers are computed, not that a trained model's are as alike.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from common import RESULTS, machine
from exact_ablation import naive
from scipy.stats import spearmanr
from transformers import AutoModelForCausalLM, AutoTokenizer

from culnig_tl.files import write_json
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.effects import exact_effects
from culnig_tl.models.configs import first_layers
from culnig_tl.models.description import layout_of
from culnig_tl.models.embedded import embedded_folder
from culnig_tl.models.prompts import model_prompts
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.tasks import load_task

TOP = 0.01


def model_of(options: argparse.Namespace, dtype: torch.dtype, device: str) -> Any:
    """The hooked model; its random weights are the same each time, but for the rounding."""
    config = first_layers(PAPER_MODELS[options.random].config(), options.layers)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    # The tokenizer at hand knows more tokens than some of the models do.
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    torch.manual_seed(0)
    with torch.device(options.device):
        bare = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        )
    return wrap_model(
        bare.to(dtype), tokenizer, name=options.random, device=device, weights="random weights"
    )


def alike(one: Scores, other: Scores) -> dict[str, float]:
    """How alike the rank values of two scores are: distance, rank correlation, share of the top."""
    a, b = (scores.mean(variant="max") for scores in (one, other))
    count = int(len(a) * TOP)
    top = [set(np.argsort(-values)[:count]) for values in (a, b)]
    return {
        "distance": float(np.linalg.norm(a - b) / np.linalg.norm(a)),
        "spearman": float(spearmanr(a, b).statistic),
        "top_overlap": len(top[0] & top[1]) / count,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--random", choices=PAPER_MODELS, default="google/gemma-3-12b-it")
    arguments.add_argument("--layers", type=int, default=6)
    arguments.add_argument("--instances", type=int, default=16)
    arguments.add_argument("--neurons", type=int, default=200)
    arguments.add_argument("--device", default="cuda")
    options = arguments.parse_args()
    instances = load_task("everyday", "neuron", limit=options.instances)
    found: dict[str, Any] = {
        "machine": machine(),
        "model": options.random,
        "layers": options.layers,
        "instances": len(instances),
    }

    def scores_of(model: Any, **choices: Any) -> Scores:
        return attribute(model, instances, answer_format="cloze", **choices)

    model = model_of(options, torch.float32, options.device)
    found["model_class"] = type(model).__name__
    single = {estimate: scores_of(model, estimate=estimate) for estimate in ESTIMATES}
    one_by_one = scores_of(model, token_budget=1)
    found["one batch or many, float32"] = alike(single[ESTIMATES[0]], one_by_one)
    layout = layout_of(model)
    ids = np.random.default_rng(0).choice(layout.total, options.neurons, replace=False)
    neurons = NeuronSet(layout, ids, "some")
    start = time.perf_counter()
    effects = exact_effects(model, instances[0], neurons, answer_format="cloze")
    ours = time.perf_counter() - start
    start = time.perf_counter()
    truth = naive(model, instances[0], neurons)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        (prompt,) = model_prompts(model, instances[:1], answer_format="cloze")
        nats = float(log_probability(model, prompt)) - truth
    found["exact effects against run_with_hooks, float32"] = {
        "largest_difference_nats": float(np.abs(nats - effects["nats"]).max()),
        "largest_effect_nats": float(np.abs(nats).max()),
        "times_faster": seconds / ours,
    }
    del model
    if options.device != "cpu":
        model = model_of(options, torch.float32, "cpu")
        for estimate, scores in single.items():
            there = scores_of(model, estimate=estimate)
            found[f"CPU and {options.device}, float32, {estimate}"] = alike(there, scores)
        del model
    model = model_of(options, torch.bfloat16, options.device)
    for estimate, scores in single.items():
        half = scores_of(model, estimate=estimate)
        found[f"float32 and bfloat16, {estimate}"] = alike(scores, half)
    many = scores_of(model, token_budget=1)
    found["one batch or many, bfloat16"] = alike(scores_of(model), many)
    for name, value in found.items():
        print(f"{name}: {value}")
    out = RESULTS / f"parity-{options.random.split('/')[-1]}.json"
    write_json(out, found)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
