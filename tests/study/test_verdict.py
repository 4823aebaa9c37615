"""The verdict of a report, from tables by hand; and the answers that changed."""

import pandas as pd
import pytest
import tiny

from culnig_tl.study.changed import changed_answers
from culnig_tl.study.columns import COLUMNS, Labels
from culnig_tl.study.running import run_study
from culnig_tl.study.verdict import verdict

ROW = {
    "items": 80, "questions": 40, "chance": 25.0, "original": 60.0, "masked": 45.0,
    "random": 59.0, "difference": -14.0, "difference_low": -20.0, "difference_high": -8.0,
    "p_holm": 0.002, "significant": True,
}  # fmt: skip
KEPT = ROW | {
    "masked": 59.0, "difference": 0.0, "difference_low": -3.0, "difference_high": 3.0,
    "p_holm": 0.9, "significant": False,
}  # fmt: skip


def said(own=None, **others) -> list[str]:
    table = pd.DataFrame({"blend": ROW | (own or {}), **others}).T
    return verdict(table, neurons=298, total=64512)


def test_a_loss_that_is_sure():
    first, sure, *rest = said(mrpc=KEPT)
    assert first == (
        "Masking 298 of 64,512 neurons (0.46%) was tested on blend: accuracy went from 60.0 to "
        "45.0%, with as many random neurons to 59.0%. That is 14.0 points more than random ones "
        "take [95% interval 8.0 to 20.0]."
    )
    assert sure == ("It rests on 40 different questions, and chance hardly does that (p = 0.002).")
    assert rest == [
        "No other test fell significantly. That is no proof that they kept everything: mrpc -3.0 "
        "to 3.0 (points beyond random, 95% interval)."
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"questions": 12, "significant": False}, "It rests on 12 different questions. Below 30"),
        ({"significant": False, "p_holm": 0.31}, "which cannot tell it from what random neurons"),
        ({"masked": 26.0}, "What is left is at chance: there was no more to lose."),
        ({"original": 26.0}, "Unmasked the model is at chance there: there was nothing to lose."),
        ({"difference": 2.0, "difference_low": -1.0, "difference_high": 5.0}, "2.0 points less"),
        ({"p_holm": 0.0001}, r"(p < 0.001)"),
    ],
)
def test_other_ends(changes, line):
    assert line in " ".join(said(changes))


def test_what_else_fell_is_said():
    text = said(commonsense=ROW, mrpc=KEPT)[-1]
    assert text == (
        "Of the other tests commonsense fell too, significantly: the neurons are not of blend alone."
    )


def test_answers_that_changed(tmp_path):
    study = tiny.study(tmp_path / "tiny", tests=(), test_limit=24, top_mlp=0.5, top_attention=0.5)
    run = run_study(study, tmp_path / "run")
    found = changed_answers(run)
    assert found is not None
    before, after = run.evaluation("original"), run.evaluation("culture-general")
    changed = before["predicted"] != after["predicted"]
    assert len(found["rows"]) == changed.sum() > 0
    assert found["lost"] == (before["correct"] & ~after["correct"]).sum()
    assert found["gained"] == (~before["correct"] & after["correct"]).sum()
    assert found["lost"] + found["gained"] + found["otherwise"] == changed.sum()
    assert [row["was"] for row in found["rows"]] == sorted(
        (row["was"] for row in found["rows"]), reverse=True
    )
    row = found["rows"][0]
    assert {row["before"], row["after"], row["right"]} <= set(before["predicted"]) | set(
        before["answer"]
    ) | set(after["predicted"])


def test_the_glossary_has_what_was_named():
    labels = Labels()
    assert labels.label("p_holm") == "p, corrected"
    assert labels.label("made_up_name") == "made up name"
    assert labels.glossary() == [COLUMNS["p_holm"]]
