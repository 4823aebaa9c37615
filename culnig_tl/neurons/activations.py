"""What a set's neurons do at each position of some prompts, and what can be read off it."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.no_group import group_in_frames


@dataclass(frozen=True, repr=False)
class Activations:
    """The activations of some neurons at all positions of some prompts.

    Attributes:
        neurons: which.
        prompts: one row a prompt: `instance`, `group`, `question` (which is asked, whatever the
            group), `first` (the number of its first position in `values`) and `positions` (how
            many it has).
        tokens: the text of the token at each position, of all prompts one after another.
        values: by position and neuron, in the neurons' order.
    """

    neurons: NeuronSet
    prompts: pd.DataFrame
    tokens: tuple[str, ...]
    values: Float[np.ndarray, "position neuron"]

    def prompt(self, row: int) -> slice:
        """The positions of one prompt."""
        first, count = self.prompts["first"].iloc[row], self.prompts["positions"].iloc[row]
        return slice(int(first), int(first + count))

    def contexts(self, column: int, k: int = 5) -> pd.DataFrame:
        """The prompts in which one neuron is most positive, and those in which it is most negative.

        Of one question, whatever the group, and of prompts that are the same up to the position,
        one is kept.

        Args:
            column: the neuron's place in the set.
            k: how many of each side; fewer where it is not positive (negative) in so many.

        Returns:
            One row a prompt, the largest activation first, then the most negative: side (1, -1),
            instance, group, place (of the activation within the prompt), activation.

        Raises:
            CulnigError: k below 1, or no such column.
        """
        check_count("k", k, least=1)
        if not 0 <= column < len(self.neurons):
            raise CulnigError(f"no neuron {column} in a set of {len(self.neurons)}")
        values, first = self.values[:, column], self.prompts["first"].to_numpy()
        rows = []
        for side in (1, -1):
            signed = side * values
            best = np.maximum.reduceat(signed, first) if len(first) else np.empty(0)
            seen: set[object] = set()
            kept = 0
            for row in np.argsort(-best, kind="stable"):
                if kept == k or best[row] <= 0:
                    break
                where = self.prompt(int(row))
                place = int(signed[where].argmax())
                about = self.prompts.iloc[int(row)]
                same = {about["question"], self.tokens[where.start : where.start + place + 1]}
                if same & seen:
                    continue
                seen |= same
                kept += 1
                rows.append(
                    {
                        "side": side,
                        "instance": about["instance"],
                        "group": about["group"],
                        "place": place,
                        "activation": float(values[where.start + place]),
                    }
                )
        columns = ["side", "instance", "group", "place", "activation"]
        return pd.DataFrame(rows, columns=columns)

    def neighbours(self, k: int = 5) -> pd.DataFrame:
        """For each neuron the k of the set whose activations go with its own most closely.

        Closeness is the size of the correlation over positions: two neurons of which one falls
        when the other rises are near. A neuron that never changes has no neighbours.

        Returns:
            One row a pair: column, neighbour (columns of the set), correlation.
        """
        check_count("k", k, least=1)
        centred = self.values - self.values.mean(axis=0)
        size = np.sqrt((centred**2).sum(axis=0))
        scaled = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
        correlation = scaled.T @ scaled
        np.fill_diagonal(correlation, 0)
        nearest = np.argsort(-np.abs(correlation), axis=1, kind="stable")[:, :k]
        columns = np.repeat(np.arange(len(nearest)), nearest.shape[1])
        found = pd.DataFrame({"column": columns, "neighbour": nearest.reshape(-1)})
        found["correlation"] = correlation[columns, nearest.reshape(-1)]
        return found[found["correlation"] != 0].reset_index(drop=True)

    def explained(self, groups: Sequence[str | None]) -> Float[np.ndarray, "neuron"]:
        """Of each neuron, the share of variance that a grouping of the prompts explains.

        What varies is the mean activation over a prompt's positions. The share is epsilon squared,
        1 - (n - 1) / (n - g) * within / total over n prompts and g groups, which is 0 on average
        for groups that mean nothing (eta squared grows with their number). NaN where a neuron does
        not vary, or each prompt is a group of its own.

        Args:
            groups: one name a prompt; None leaves the prompt out.

        Raises:
            CulnigError: not one name a prompt.
        """
        if len(groups) != len(self.prompts):
            raise CulnigError(
                f"{len(groups)} groups for {len(self.prompts)} prompts: give each one"
            )
        first, counts = (self.prompts[c].to_numpy() for c in ("first", "positions"))
        means = np.add.reduceat(self.values.astype(float), first, axis=0) / counts[:, None]
        means = means[[group is not None for group in groups]]
        codes, names = pd.factorize(np.array([group for group in groups if group is not None]))
        total = ((means - means.mean(axis=0)) ** 2).sum(axis=0)
        sums = np.zeros((len(names), means.shape[1]))
        np.add.at(sums, codes, means)
        centres = sums / np.bincount(codes)[:, None]
        within = ((means - centres[codes]) ** 2).sum(axis=0)
        free = len(means) - len(names)
        if free < 1:
            return np.full(means.shape[1], np.nan)
        ratio = np.divide(within, total, out=np.full_like(total, np.nan), where=total > 0)
        return 1 - (len(means) - 1) / free * ratio

    def __repr__(self) -> str:
        return (
            f"Activations of {len(self.neurons)} neurons at {len(self.tokens):,} positions of "
            f"{len(self.prompts)} prompts"
        )


def prompt_frame(
    instances: Sequence[str],
    *,
    groups: Sequence[str | None],
    questions: Sequence[str],
    counts: Sequence[int],
) -> pd.DataFrame:
    """`Activations.prompts`, from each prompt's instance, group, question and positions."""
    return pd.DataFrame(
        {
            "instance": list(instances),
            "group": [group_in_frames(group) for group in groups],
            "question": list(questions),
            "first": np.cumsum([0, *counts])[:-1],
            "positions": list(counts),
        }
    )
