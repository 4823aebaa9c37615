"""Exercises about sets of neurons: the highest share, entropy, and questions of one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from culnig_tl.errors import CulnigError
from culnig_tl.exercises.checking import NotYet, called
from culnig_tl.neurons import selection
from culnig_tl.neurons.lape import ActivationShares, share_entropy
from culnig_tl.resampling import FEWEST_QUESTIONS
from culnig_tl.tasks.own import load_questions


def top_share(
    values: Sequence[float] | np.ndarray,
    share: float,
    yours: Callable[[np.ndarray, float], Any],
) -> str:
    """Exercise: the numbers of the neurons with the highest values, a share of all.

    Args:
        yours: takes the values and the share, gives the places of the highest ones.

    Raises:
        NotYet: it gives others.

    Example:
        >>> top_share([0.1, 0.4, 0.2, 0.3], 0.5, lambda values, share: values.argsort()[-2:])
        'Right: the 2 highest of 4.'
    """
    values = np.asarray(values, dtype=float)
    expected = selection.top_share(np.arange(len(values)), values, share, what="neurons", ties={})
    found = np.asarray(called(lambda: yours(values.copy(), share))).ravel()
    if sorted(found.tolist()) == sorted(expected.tolist()):
        return f"Right: the {len(expected)} highest of {len(values)}."
    hint = "give the places of the highest values, not the values"
    if set(found.tolist()) <= set(range(len(values))):
        hint = "these are others: are they sorted from the highest down?"
        if len(found) != len(expected):
            hint = f"the share of {len(values)} is {share * len(values):g}, rounded down"
    raise NotYet(f"you gave {len(found)} neurons, expected {len(expected)}: {hint}")


def entropy(shares: ActivationShares, yours: Callable[[np.ndarray], Any]) -> str:
    """Exercise: the entropy of each neuron's activation shares over the groups, in nats.

    Args:
        yours: takes shares of tokens, [group, neuron], gives [neuron].

    Raises:
        NotYet: it gives something else.

    Example:
        `shares` are what `activation_shares` counted on texts of two groups.

        >>> entropy(shares, lambda values: values.sum(axis=0))
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: the entropy of shares ...
    """
    values = shares.frame().to_numpy()
    values = values[:, values.sum(axis=0) > 0]  # one that is never active has none
    expected = share_entropy(values)
    found = np.asarray(called(lambda: yours(values.copy())), dtype=float)
    if found.shape != expected.shape:
        raise NotYet(
            f"you gave the shape {found.shape}, expected {expected.shape}: sum over the groups"
        )
    if np.isnan(found).any():
        raise NotYet("some are NaN: 0 log 0 counts as 0, and numpy makes NaN of it")
    if np.allclose(found, expected, atol=1e-6):
        return (
            f"Right: {len(found):,} entropies, from {expected.min():.2f} to {expected.max():.2f}; "
            f"log({len(values)}) = {np.log(len(values)):.2f} is a neuron that is active in all "
            "alike."
        )
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    hints = {
        "the sign is the other way: entropy is minus the sum of p log p": -expected,
        "that is in bits: take the natural logarithm": expected / np.log(2),
        "the shares of a neuron do not sum to 1 yet: divide by their sum": -(values * logs).sum(0),
    }
    hint = next(
        (text for text, one in hints.items() if np.allclose(found, one, atol=1e-6)),
        "p is a neuron's share in a group, divided by the sum over the groups; minus the sum of "
        "p log p",
    )
    place = int(abs(found - expected).argmax())
    several = ", ".join(f"{share:.3g}" for share in values[:, place])
    raise NotYet(
        f"the entropy of shares {several} is {found[place]:.3g}, expected {expected[place]:.3g}: "
        f"{hint}"
    )


def own_questions(yours: Callable[[], str], *, groups: int = 3, each: int = 4) -> str:
    """Exercise: questions of your own, as the text of a CSV file.

    Args:
        yours: gives the text: a line `question,group,answer`, then a line a question.
        groups: so many at least.
        each: so many questions of each group at least.

    Raises:
        NotYet: what `load_questions` says of the file, or too few groups or questions.

    Example:
        >>> own_questions(lambda: "question,group,answer")
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: mine.csv ...
    """
    text = called(yours)
    if not isinstance(text, str):
        raise NotYet(f"you gave {type(text).__name__}, expected the text of a CSV file")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        path.write_text(text, encoding="utf-8")
        try:
            found = load_questions(path)
        except CulnigError as error:
            raise NotYet(str(error).replace(str(path), path.name)) from None
    counts = found.counts().sum(axis=1)
    if len(counts) < groups:
        raise NotYet(
            f"{len(counts)} groups, expected {groups} or more: what stands out in one group needs "
            "others beside it"
        )
    if counts.min() < each:
        raise NotYet(f"{counts.idxmin()} has {counts.min()} questions, expected {each} or more")
    few = len(found.test) < FEWEST_QUESTIONS
    warning = f" Below {FEWEST_QUESTIONS} in the test nothing is called significant." if few else ""
    return f"Right: {found!r}.{warning}"
