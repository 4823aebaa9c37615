"""Pairs of prompts that ask the same of two groups, and which answer each of them prefers."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.measure.evaluation import COPIES, answer_log_probabilities
from culnig_tl.models.batches import fitting_budget, in_batches
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.forward import frozen
from culnig_tl.models.prompts import model_prompts
from culnig_tl.tasks.instances import Instance


def pair_preferences(model: HookedModel, instances: Sequence[Instance]) -> pd.DataFrame:
    """Of every ordered pair of groups that are asked the same, which answer each prompt prefers.

    Only where the source's prompt prefers the source's answer and the base's the base's
    (in_source > 0 > before) is there something that a patch can move. Pairs whose answers are the
    same are left out.

    Returns:
        One row a pair: source, target, source_id, target_id, question (its number), instance (the
        number of question and template), before and in_source (D as in `activation_patch`), and
        decided (whether in_source > 0 > before).

    Raises:
        CulnigError: no pair among the instances, or log P that is NaN or infinite.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> pairs = pair_preferences(model, [iran, spain])
        >>> pairs["source"].tolist(), pairs["decided"].dtype.name
        (['Iran', 'Spain'], 'bool')
    """
    pairs = group_pairs(instances)
    if not pairs:
        raise CulnigError(
            "no two instances ask the same question of different groups with different "
            "answers: load a task with groups, such as everyday or blend"
        )
    log_p = _answers_of_the_group(model, pairs)
    rows: list[dict[str, Any]] = []
    questions: dict[tuple[str, str], int] = {}
    for number, source, base in pairs:
        there, here = log_p[number, source.group], log_p[number, base.group]
        answers = folded(source), folded(base)
        in_source, before = (at[answers[0]] - at[answers[1]] for at in (there, here))
        asked = questions.setdefault(base.same_question[:2], len(questions))
        rows.append(
            {
                "source": source.group,
                "target": base.group,
                "source_id": source.id,
                "target_id": base.id,
                "question": asked,
                "instance": number,
                "before": before,
                "in_source": in_source,
                "decided": in_source > 0 > before,
            }
        )
    return pd.DataFrame(rows)


def _answers_of_the_group(
    model: HookedModel, pairs: Sequence[tuple[int, Instance, Instance]]
) -> dict[tuple[int, str | None], dict[str, float]]:
    """log P of the answer of every group that is asked the same, by number and group asked."""
    asked: dict[int, dict[str | None, Instance]] = {}
    for number, source, base in pairs:
        asked.setdefault(number, {}).update({one.group: one for one in (source, base)})
    keys, prompts = [], []
    for number, same in asked.items():
        # Two that differ in spaces or capitals are one option.
        spelled = {folded(one): one.answer_text for one in reversed(same.values())}
        answers = tuple(spelled.values())
        for group, one in same.items():
            keys.append((number, group))
            labels = tuple(map(str, range(len(answers))))
            own = list(spelled).index(folded(one))
            prompts.append(replace(one, options=answers, answer=own, labels=labels, credits=None))
    made = model_prompts(model, prompts, answer_format="cloze")
    lengths = [len(prompt.tokens) for prompt in made]
    budget = fitting_budget(model, max(lengths), gradients=False, cached=1 + COPIES)

    def work(rows: list[int]) -> list[tuple[list[Tensor], list[bool]]]:
        return answer_log_probabilities(model, [made[row] for row in rows], token_budget=budget)

    found: dict[tuple[int, str | None], dict[str, float]] = {}
    what = "Which answer is preferred"
    with frozen(model), torch.no_grad():
        for rows, answers in in_batches(range(len(made)), lengths, budget, work=work, what=what):
            for row, (options, _) in zip(rows, answers, strict=True):
                sums = [float(option.sum()) for option in options]
                names = [option.strip().lower() for option in prompts[row].options]
                found[keys[row]] = dict(zip(names, sums, strict=True))
    return found


def folded(instance: Instance) -> str:
    """The right answer, told apart by neither spaces nor capitals."""
    return instance.answer_text.strip().lower()


def decided_pairs(
    pairs: pd.DataFrame, instances: Sequence[Instance], limit: int | None
) -> list[tuple[pd.Series, Instance, Instance]]:
    """The decided pairs with their source and base, one of each question before a second of any."""
    wanted = pairs[pairs["decided"]]
    if not len(wanted):
        raise CulnigError(
            f"in none of {len(pairs)} pairs does each prompt prefer its own answer, so there is "
            "nothing to move: take other questions, or a model that can answer them"
        )
    turn = wanted.groupby("question", sort=False).cumcount()
    wanted = wanted.iloc[np.argsort(turn.to_numpy(), kind="stable")][:limit]
    there = {(n, s.group, b.group): (s, b) for n, s, b in group_pairs(instances)}
    keys = zip(wanted["instance"], wanted["source"], wanted["target"], strict=True)
    try:
        found = [there[key] for key in keys]
    except KeyError as error:
        raise CulnigError(
            "these pairs are not of these instances: give the frame of pair_preferences of them"
        ) from error
    rows = [row for _, row in wanted.iterrows()]
    return [(row, *pair) for row, pair in zip(rows, found, strict=True)]


def group_pairs(instances: Sequence[Instance]) -> list[tuple[int, Instance, Instance]]:
    """(number, source, base) of all ordered pairs asked the same with different answers; pairs of
    one number have one question and template.

    Of those that ask the same question (`Instance.same_question`) of the same group (BLEnD has
    up to five, with other wrong options) the first is taken.
    """
    asked: dict[tuple[str, str, int], dict[str, Instance]] = {}
    for instance in instances:
        if instance.group is not None:
            same = asked.setdefault(instance.same_question, {})
            same.setdefault(instance.group, instance)
    return [
        (number, source, base)
        for number, same in enumerate(asked.values())
        for source in same.values()
        for base in same.values()
        if source.group != base.group and folded(source) != folded(base)
    ]
