"""Sets that add up, that do not, and what is read from it: toys whose numbers are worked by hand.

Two neurons a = b = 1, log P = f(a, b); a single effect is f(1, 1) - f(0, 1), the set's is
f(1, 1) - f(0, 0).
"""

import numpy as np
import pandas as pd
import pytest

from culnig_tl import CulnigError
from culnig_tl.analysis.additivity import additivity

TOYS = {
    # f: single effects 1 and 1, the set 2.
    "additive": (lambda a, b: a + b, [1, 1], 2, "additive"),
    # AND: each alone takes all: 1 and 1, the set 1.
    "and": (lambda a, b: a * b, [1, 1], 1, "in series"),
    # OR: each alone takes nothing, as the other does the work: 0.1 and 0.1, the set 1.1.
    "or": (lambda a, b: max(a, b) + 0.1 * min(a, b), [0.1, 0.1], 1.1, "backups"),
    # A floor at 1.5: 0.5 and 0.5, and the set 0.5, which is all that can be taken.
    "floor": (lambda a, b: max(a + b, 1.5), [0.5, 0.5], 0.5, "floor"),
}


def frame(name: str, *, questions: int = 5, floor: float = 10.0) -> pd.DataFrame:
    f, singles, joint, _ = TOYS[name]
    found = [f(1, 1) - f(0, 1), f(1, 1) - f(1, 0)]
    assert found == pytest.approx(singles)
    assert f(1, 1) - f(0, 0) == pytest.approx(joint)
    return pd.DataFrame(
        {
            "set": name,
            "instance": [f"i{number}" for number in range(questions)],
            "question": [f"q{number}" for number in range(questions)],
            "singles_nats": float(sum(found)),
            "joint_nats": float(f(1, 1) - f(0, 0)),
            "floor_nats": f(1, 1) - f(0, 0) if name == "floor" else floor,
        }
    )


@pytest.mark.parametrize("name", TOYS)
def test_toys(name):
    table = additivity(frame(name))
    _, singles, joint, reading = TOYS[name]
    assert table.loc[name, "reading"] == reading
    assert table.loc[name, "ratio"] == pytest.approx(joint / sum(singles))
    assert table.loc[name, "questions"] == 5


def test_the_interval_is_over_questions():
    """Ten instances of two questions are two questions: no reading of so few."""
    many = pd.concat([frame("and")] * 2).assign(question=["x", "y"] * 5)
    table = additivity(many)
    assert table.loc["and", ["instances", "questions"]].tolist() == [10, 2]
    assert table.loc["and", "reading"] == "nothing to add"
    assert np.isnan(table.loc["and", "ratio"])


def test_effects_around_nothing_have_no_ratio():
    around = frame("additive").assign(singles_nats=[-1.0, 1.0, -0.5, 0.5, 0.1])
    assert additivity(around).loc["additive", "reading"] == "nothing to add"


def test_several_sets_keep_their_order():
    table = additivity(pd.concat([frame("or"), frame("and")]))
    assert list(table.index) == ["or", "and"]


def test_a_frame_of_an_earlier_version():
    with pytest.raises(CulnigError, match="floor_nats"):
        additivity(frame("and").drop(columns="floor_nats"))
