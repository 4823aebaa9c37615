"""The verdict on a run, in sentences that are written from its numbers."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from culnig_tl.analysis.texts import number_text
from culnig_tl.resampling import FEWEST_QUESTIONS, p_text

NEAR = 2.0  # points from chance


def verdict(table: pd.DataFrame, *, neurons: int, total: int) -> list[str]:
    """What masking did, how sure that is, and what else fell.

    Args:
        table: of `compare`, the study's own test first.
        neurons: how many were masked, of `total`.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> from culnig_tl import compare
        >>> table = compare(original, masked, random, resamples=100)
        >>> verdict(table, neurons=4, total=336)[0].split(":")[0]
        'Masking 4 of 336 neurons (1.19%) was tested on tiny'
    """
    rows = table.to_dict("index")
    (name, own), *others = ((str(task), row) for task, row in rows.items())
    lost = -own["difference"]
    ends = (number_text(-own[f"difference_{end}"], 1) for end in ("high", "low"))
    change = f"{number_text(abs(lost), 1)} points {'more' if lost >= 0 else 'less'}"
    said = [
        f"Masking {neurons:,} of {total:,} neurons ({100 * neurons / total:.2f}%) was tested on "
        f"{name}: accuracy went from {number_text(own['original'], 1)} to "
        f"{number_text(own['masked'], 1)}%, with as many random neurons to "
        f"{number_text(own['random'], 1)}%. That is {change} than random ones take "
        f"[95% interval {' to '.join(ends)}].",
        _sure(own),
    ]
    if own["original"] <= own["chance"] + NEAR:
        said.append("Unmasked the model is at chance there: there was nothing to lose.")
    elif own["masked"] <= own["chance"] + NEAR:
        said.append("What is left is at chance: there was no more to lose.")
    fell = [task for task, row in others if row["significant"]]
    if others:
        if fell:
            said.append(
                f"Of the other tests {' and '.join(fell)} fell too, significantly: the neurons are "
                f"not of {name} alone."
            )
        else:
            said.append(
                "No other test fell significantly. That is no proof that they kept everything: "
                + ", ".join(_range(task, row) for task, row in others)
                + " (points beyond random, 95% interval)."
            )
    return said


def _sure(own: Mapping[str, Any]) -> str:
    questions = int(own["questions"])
    if questions < FEWEST_QUESTIONS:
        return (
            f"It rests on {questions} different questions. Below {FEWEST_QUESTIONS} this says "
            "nothing about others: ask more."
        )
    p = p_text(own["p_holm"])
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if own["significant"]:
        return f"It rests on {questions} different questions, and chance hardly does that ({p})."
    return (
        f"It rests on {questions} different questions, which cannot tell it from what random "
        f"neurons take ({p})."
    )


def _range(task: str, row: Mapping[str, Any]) -> str:
    low, high = (number_text(row[f"difference_{end}"], 1) for end in ("low", "high"))
    return f"{task} {low} to {high}"
