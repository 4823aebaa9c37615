"""Passages whose answer is the name of a group, for the groups of a file of questions."""

from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.tasks.instances import Split, stable_random
from culnig_tl.tasks.question_rows import PLACEHOLDER, check_groups, given_file, good_rows, names_of
from culnig_tl.tasks.templates import Item, Template

TEMPLATE = Template(
    user=(
        "Read the passage, then reply with the letter of the right option and nothing else.\n"
        "Passage: {passage}\nQuestion: {question}\n{options}"
    ),
    cloze="{passage}\nQuestion: {question}\nAnswer:",
)
SPLITS: tuple[Split, ...] = ("neuron", "test")
WRONG = 3  # wrong options, where there are as many other groups
_PASSAGES = Path(__file__).parent / "data" / "group_passages.json"


def load_items(
    split: Split,
    groups: tuple[str, ...] | None,
    data: Path | None,
    *,
    passages: Path = _PASSAGES,
) -> list[Item]:
    """Passages whose answer is a group's name, for the groups of a file of questions: what the
    filter of names is found on (`neuron`: the first half of the passages), and a test (the others).

    Up to three wrong options are other groups' names; where a passage names a second group, that
    is one of them.

    Args:
        passages: a JSON list of `{"id", "context", "question"}`; a context holds `{group}`, and
            perhaps `{other}`.

    Raises:
        CulnigError: a file of passages that holds something else, or as `load_questions`.
    """
    path = given_file(data)
    names = names_of(good_rows(path))
    check_groups(groups or (), tuple(names), path)
    every = _passages(passages)
    half = len(every) // 2
    items = []
    for passage in every[:half] if split == "neuron" else every[half:]:
        for group in groups or names:
            others = [name for name in names if name != group]
            stable_random("names", passage["id"], group).shuffle(others)
            context = passage["context"].replace("{other}", names[others[0]])
            items.append(
                Item(
                    id=f"{passage['id']}/{group}",
                    group=group,
                    fields={
                        "passage": context.replace(PLACEHOLDER, names[group]),
                        "question": passage["question"],
                    },
                    options=(names[group], *(names[other] for other in others[:WRONG])),
                    answer=0,
                    question_id=passage["id"],
                )
            )
    return items


def _passages(path: Path) -> list[dict[str, str]]:
    """The passages of a file.

    Raises:
        CulnigError: it holds something else; the message has the row, and what is right.
    """
    right = '{"id": ..., "context": "... {group} ...", "question": ...}'
    every = read_json(path)
    if not isinstance(every, list) or len(every) < 2:
        raise CulnigError(f"{path} is no list of passages: give two or more {right}")
    for number, passage in enumerate(every, start=1):
        given = passage if isinstance(passage, dict) else {}
        texts = [given.get(key) for key in ("id", "context", "question")]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise CulnigError(f"{path}, passage {number}: give a text each, {right}")
        if PLACEHOLDER not in given["context"]:
            raise CulnigError(f"{path}, passage {number}: the context does not hold {{group}}")
    ids = [passage["id"] for passage in every]
    twice = [name for name in ids if ids.count(name) > 1]
    if twice:
        raise CulnigError(f"{path} has two passages {twice[0]!r}: give each an id of its own")
    return every
