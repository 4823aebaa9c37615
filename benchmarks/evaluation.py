"""How fast evaluation is, against one full forward pass for each option.

- `naive`: prompt and option as one row, four rows an instance, in padded batches of the same token
  budget through the same hooked model; all logits, and a log-softmax over all of them.
- `ours`: `evaluate`, tokenisation included: the prompt once, then the options' further tokens.

    python benchmarks/evaluation.py --model-class TransformerBridge

With `--blend FOLDER` the instances are the first of BLEnD's test split in file order, as a study
takes them: up to five in a row ask the same question with other wrong options.

    python benchmarks/evaluation.py --blend FOLDER --instances 512 --repeats 1

Both run in one process, in turn; peak memory is measured in a process of its own for each.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from common import MODEL, Target, finish, interleaved, machine, parser, peak_memories, report_peak

from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.batches import group_rows, pad_batch
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance

NAIVE, OURS = "naive", "ours"
METHODS = (NAIVE, OURS)


@torch.no_grad()
def naive(model: Any, instances: Sequence[Instance], budget: int) -> tuple[list[str], list[float]]:
    """Each instance's predicted option, and P(y|x) of its answer."""
    tokenizer = tokenizer_of(model)
    prompts = make_prompts(tokenizer, instances, answer_format="cloze")
    pairs = [(prompt, option) for prompt in prompts for option in prompt.options]
    sequences = [prompt.tokens + option for prompt, option in pairs]
    sums, means = [0.0] * len(pairs), [0.0] * len(pairs)
    for rows in group_rows(range(len(pairs)), [*map(len, sequences)], budget):
        batch = pad_batch(sequences, rows, tokenizer, device=model.cfg.device)
        log_probabilities = model(batch.tokens, attention_mask=batch.mask).log_softmax(dim=-1)
        for i, row in enumerate(rows):
            option = pairs[row][1]
            before = log_probabilities[i, -len(option) - 1 : -1]
            labels = torch.tensor(option, device=before.device)
            chosen = before.gather(1, labels[:, None])[:, 0]
            sums[row], means[row] = float(chosen.sum()), float(chosen.mean())
    predicted, probability, start = [], [], 0
    for prompt in prompts:
        stop = start + len(prompt.options)
        best = max(range(start, stop), key=means.__getitem__) - start
        predicted.append(prompt.instance.options[best])
        probability.append(float(np.exp(sums[start + prompt.instance.answer])))
        start = stop
    return predicted, probability


def prepare(
    options: argparse.Namespace,
) -> tuple[dict[str, Callable[[], Any]], Any, list[Instance]]:
    """Both methods, and the hooked model and the instances that they share."""
    instances = load_task("everyday", "test", limit=options.instances)
    if options.blend:
        instances = load_task("blend", "test", data=options.blend)[: options.instances]
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    budget = options.token_budget
    methods = {
        NAIVE: lambda: naive(model, instances, budget),
        OURS: lambda: evaluate(model, instances, answer_format="cloze", token_budget=budget),
    }
    return methods, model, instances


def main() -> None:
    options = parser(__doc__.splitlines()[0] if __doc__ else None).parse_args()
    if options.only:
        methods, model, _ = prepare(options)
        report_peak(methods[options.only], model, options.device)
        return
    about = machine()
    memory = peak_memories(__file__, METHODS, options)
    methods, _, instances = prepare(options)
    options.instances = len(instances)
    # The check is also the warm-up.
    predicted, probability = methods[NAIVE]()
    table = methods[OURS]()
    same = float((table["predicted"] == predicted).mean())
    expected = np.array(probability)
    relative = float((np.abs(table["probability"] - expected) / expected).max())
    good = same == 1 and relative <= 1e-3
    print(
        f"the same prediction for {same:.1%}, answer probabilities within {relative:.1e} relative "
        f"(wanted 100%, <= 1e-3): {'ok' if good else 'DIFFERENT'}"
    )
    seconds = interleaved(methods, dict.fromkeys(METHODS, options.repeats), options.device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    least = 10.0 if options.blend else 3.0
    targets = [Target("time, naive / ours", medians[NAIVE] / medians[OURS], least, True)]
    finish(
        f"Evaluation of {len(instances)} instances, {options.model_class}, {options.device}",
        options,
        seconds,
        memory,
        targets,
        {"same_predictions": same, "largest_relative_difference": relative},
        "evaluation",
        about,
    )


if __name__ == "__main__":
    main()
