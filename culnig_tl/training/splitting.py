"""Splitting: instances to train on, and those to test on. Needs no model."""

from collections.abc import Sequence

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.instances import Instance, stable_random


def split_instances(
    instances: Sequence[Instance], tests: int
) -> tuple[list[Instance], list[Instance]]:
    """Instances to train on and `tests` items to test on, drawn by a stable hash.

    Raises:
        CulnigError: nothing would be left to train on.

    Example:
        >>> train, tests = split_instances(load_task("paraphrase", "test"), 16)
        >>> len(tests), {i.id for i in train} & {i.id for i in tests}
        (16, set())
    """
    items = list(dict.fromkeys(i.item_id for i in instances))
    if not 0 < tests < len(items):
        raise CulnigError(
            f"{tests} of {len(items)} items of {instances[0].task!r} are to be tests: give 1 to "
            f"{len(items) - 1}, so that some are left to train on"
        )
    drawn = sorted(items, key=lambda item: stable_random("divide", item).random())
    kept = set(drawn[:tests])
    train = [i for i in instances if i.item_id not in kept]
    return train, [i for i in instances if i.item_id in kept]
