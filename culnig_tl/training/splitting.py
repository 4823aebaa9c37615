"""Splitting: instances to train on, and those to test on. Needs no model."""

from collections.abc import Sequence

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.instances import Instance, stable_random


def split_instances(
    instances: Sequence[Instance], tests: int
) -> tuple[list[Instance], list[Instance]]:
    """Instances to train on and `tests` items to test on, drawn by a stable hash.

    The items to test on are of different questions, and nothing of these is trained on.

    Raises:
        CulnigError: nothing would be left to train on.

    Example:
        >>> train, tests = split_instances(load_task("paraphrase", "test"), 16)
        >>> len(tests), {i.id for i in train} & {i.id for i in tests}
        (16, set())
    """
    items: dict[str, str] = {}  # the first of each question
    for instance in instances:
        items.setdefault(instance.question_key, instance.item_id)
    if not 0 < tests < len(items):
        raise CulnigError(
            f"{tests} of {len(items)} questions of {instances[0].task!r} are to be tests: give 1 "
            f"to {len(items) - 1}, so that some are left to train on"
        )
    drawn = sorted(items, key=lambda question: stable_random("divide", items[question]).random())
    kept = {question: items[question] for question in drawn[:tests]}
    train = [i for i in instances if i.question_key not in kept]
    return train, [i for i in instances if kept.get(i.question_key) == i.item_id]
