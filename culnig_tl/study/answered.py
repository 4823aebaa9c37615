"""Which test questions of a run the model answers: those on which effects are worth measuring."""

from collections.abc import Sequence

from culnig_tl.no_group import group_in_frames
from culnig_tl.study.run import Run
from culnig_tl.tasks.instances import Instance, one_of_each, stable_random

# The least P(answer) of a question that the model can answer.
LEAST = 0.01


def answered_first(run: Run, tests: Sequence[Instance]) -> list[Instance]:
    """One instance of each test question of the study's own task (`tests`), those that the model
    answers first, by a stable hash; then the others, the likeliest answer first."""
    frame = run.evaluation("original")
    frame = frame[frame["task"] == run.study.task].set_index(["id", "group"])
    found = []
    for instance in one_of_each(tests):
        row = frame.loc[(instance.id, group_in_frames(instance.group))]
        good = bool(row["correct"] == 1 and row["probability"] >= LEAST)
        order = stable_random("verify", instance.id).random() if good else -row["probability"]
        found.append((not good, order, instance.id, instance))
    return [instance for *_, instance in sorted(found, key=lambda one: one[:3])]
