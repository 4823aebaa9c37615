"""Facts about single neurons: all that is measured of each, as plain values for a page or a file.

1. Its score and rank, and its score by group (`Scores`).
2. What it does to single answers, by the estimates and in truth (`taylor_check`).
3. Where it is most positive and most negative, token by token (`set_activations`).
4. What it writes (`written_tokens`), or for q and k what its head attends to (`attended_tokens`).
5. Which of the others go with it.
6. How much of its variance over prompts the group, the question and the form of the answer
   explain.
"""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.checks import check_count
from culnig_tl.measure.attended import attended_tokens
from culnig_tl.measure.set_activations import set_activations
from culnig_tl.measure.taylor import taylor_check
from culnig_tl.measure.writes import written_tokens
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.neurons.activations import Activations
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.scores import Scores, Target, Variant
from culnig_tl.neurons.selection import rank_values
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.progress import progress
from culnig_tl.tasks.instances import Instance

AROUND = 24  # tokens of a context that are shown, those before the activation among them
BEHIND = 4  # of these, behind it
LOOKS = 6  # tokens of what a head attends to


def neuron_facts(
    model: HookedModel,
    neurons: NeuronSet,
    instances: Sequence[Instance],
    *,
    scores: Scores,
    control: Scores | None = None,
    texts: Sequence[str] = (),
    effects_on: Sequence[Instance] = (),
    variant: Variant = "max",
    target: Target | None = None,
    k: int = 3,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> list[dict[str, Any]]:
    """What is known of each neuron of a set, as values that JSON holds.

    Args:
        model: from `load_model` or `wrap_model`.
        neurons: which, of this model.
        instances: the prompts on which their activations are looked at.
        scores, control, variant, target: what ranks them, as `select_general`.
        texts: plain texts of your own, on which they are looked at too.
        effects_on: instances on which each neuron is really set to 0; none leaves effects out.
        k: contexts of each side, neighbours, and effects that are listed one by one.
        answer_format, token_budget: as `evaluate`.

    Returns:
        A dictionary a neuron, in the set's order: layer, site, index, score
        and rank (1: the highest of its pool, MLP or attention), scores (by group), effect (mean
        in nats, true and by each estimate, or None), effects (single answers, the largest first),
        contexts, raised and lowered (tokens, of gate and v), looks (of q and k), neighbours, and
        explained (by group, question and form of the answer; None where nothing can be said).

    Raises:
        CulnigError: as the functions that are named above.

    Example:
        `model` is a tiny random one, `few` a set of four neurons, `scores` those of `attribute`.

        >>> facts = neuron_facts(model, few, instances, scores=scores)
        >>> facts[0]["site"], sorted(facts[0]["explained"])
        ('gate', ['form', 'group', 'question'])
    """
    check_count("k", k, least=1)
    found = set_activations(
        model,
        instances,
        neurons,
        texts=texts,
        answer_format=answer_format,
        token_budget=token_budget,
    )
    asked = {instance.id: instance for instance in instances}
    effects = (
        taylor_check(
            model,
            effects_on,
            neurons,
            steps=0,
            answer_format=answer_format,
            token_budget=token_budget,
        )
        if effects_on
        else None
    )
    written = _by_neuron(written_tokens(model, neurons))
    true = None if effects is None else _by_neuron(effects)
    facts = _ranked(neurons, scores, control, variant=variant, target=target)
    near = found.neighbours(k)
    explained = _explained(found, asked)
    known = {instance.id: instance for instance in effects_on}
    every = list(neurons)
    rows_of = {name: row for row, name in enumerate(found.prompts["instance"])}
    for column, neuron in enumerate(progress(every, "Neurons", len(every))):
        fact, name = facts[column], tuple(neuron)
        fact["contexts"] = _contexts(found, column, rows=rows_of, k=k)
        fact["neighbours"] = [
            {**dict(zip(Neuron._fields, every[row.neighbour], strict=True)),
             "correlation": _rounded(row.correlation)}
            for row in near[near["column"] == column].itertuples()
        ]  # fmt: skip
        fact["explained"] = {what: _rounded(values[column]) for what, values in explained.items()}
        fact |= {"effect": None, "effects": []} if true is None else _effects(true[name], known, k)
        for side, what in ((1, "raised"), (-1, "lowered")):
            rows = written.get(name)
            fact[what] = [] if rows is None else rows.loc[rows["side"] == side, "token"].tolist()
        first = next((c["instance"] for c in fact["contexts"] if c["instance"] in asked), None)
        fact["looks"] = (
            _looks(model, asked[first], neuron, answer_format=answer_format)
            if neuron.site in ("q", "k") and first is not None
            else []
        )
    return facts


def answer_form(text: str) -> str:
    """The form of an answer: a number, or so many words.

    Example:
        >>> answer_form("7 p.m."), answer_form("rice"), answer_form("black tea with milk")
        ('number', 'one word', 'several words')
    """
    if any(character.isdigit() for character in text):
        return "number"
    return "one word" if len(text.split()) == 1 else "several words"


def _ranked(
    neurons: NeuronSet, scores: Scores, control: Scores | None, **how: Any
) -> list[dict[str, Any]]:
    """Score, rank and scores by group."""
    variant, target = how["variant"], how["target"]
    values = rank_values(scores, control, variant, target=target)
    by_group = {
        group: rank_values(scores, control, variant, groups=[group], target=target)
        for group in scores.groups
    }
    layout, ranks = neurons.layout, np.zeros(neurons.layout.total, dtype=int)
    for sites in (("gate",), ("q", "k", "v")):
        ids = layout.ids_of(sites)
        ranks[ids[np.argsort(-values[ids], kind="stable")]] = np.arange(1, len(ids) + 1)
    return [
        {
            **neuron._asdict(),
            "score": _rounded(values[flat]),
            "rank": int(ranks[flat]),
            "scores": {c: _rounded(found[flat]) for c, found in by_group.items()},
        }
        for neuron, flat in zip(neurons, neurons.ids, strict=True)
    ]


def _contexts(
    found: Activations, column: int, *, rows: dict[str, int], k: int
) -> list[dict[str, Any]]:
    contexts = []
    for context in found.contexts(column, k).to_dict("records"):
        where = found.prompt(rows[context["instance"]])
        end = min(where.stop, where.start + context["place"] + 1 + BEHIND)
        begin = max(where.start, end - AROUND)
        values = found.values[begin:end, column]
        contexts.append(
            {
                **context,
                "activation": _rounded(context["activation"]),
                "tokens": list(found.tokens[begin:end]),
                "values": [_rounded(value) for value in values],
            }
        )
    return contexts


def _by_neuron(frame: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """The rows of each neuron."""
    return dict(iter(frame.groupby(["layer", "site", "index"], observed=True, sort=False)))


def _effects(rows: pd.DataFrame, known: dict[str, Instance], k: int) -> dict[str, Any]:
    """Mean effects, and the largest on single answers, in nats."""
    nats = pd.DataFrame({"true": rows["nats"]})
    for estimate in ESTIMATES:
        nats[estimate] = rows[estimate] / rows["probability"]
    order = nats["true"].abs().sort_values(ascending=False, kind="stable").index[:k]
    return {
        "effect": {what: _rounded(value) for what, value in nats.mean().items()},
        "effects": [
            {
                "instance": rows.loc[row, "instance"],
                "group": rows.loc[row, "group"],
                "question": known[rows.loc[row, "instance"]].question,
                "answer": known[rows.loc[row, "instance"]].answer_text,
                **{what: _rounded(value) for what, value in nats.loc[row].items()},
            }
            for row in order
        ],
    }


def _explained(found: Activations, asked: dict[str, Instance]) -> dict[str, np.ndarray]:
    groups: dict[str, Callable[[Instance], str]] = {
        "group": lambda instance: instance.group or "",
        "question": lambda instance: instance.topic,
        "form": lambda instance: answer_form(instance.answer_text),
    }
    names = found.prompts["instance"]
    return {
        what: found.explained([group(asked[name]) if name in asked else None for name in names])
        for what, group in groups.items()
    }


def _looks(
    model: HookedModel, instance: Instance, neuron: Neuron, *, answer_format: AnswerFormat
) -> list[dict[str, Any]]:
    """The tokens whose attention the neuron changes most."""
    frame = attended_tokens(model, instance, neuron, answer_format=answer_format)
    change = (frame["with_neuron"] - frame["without_neuron"]).abs()
    rows = frame.loc[change.sort_values(ascending=False, kind="stable").index[:LOOKS]]
    return [
        {
            "token": row.token,
            "with": _rounded(row.with_neuron),
            "without": _rounded(row.without_neuron),
        }
        for row in rows.itertuples()
    ]


def _rounded(value: float | np.floating, digits: int = 4) -> float | None:
    """With so many significant digits; None where it is no number, which JSON does not have."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
