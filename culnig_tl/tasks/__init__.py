"""Tasks: where instances come from; `load_task` is the way in.

What comes in are files of questions, bundled, local or on the Hub; what goes out are instances, in
the wording of templates. A file a task, and an entry of `TASKS`. Imports the root alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.tasks import (
    blend,
    commonsenseqa,
    controls,
    countryrc,
    culturalbench,
    everyday,
    mrpc,
    normad,
    own,
    own_names,
    qnli,
    worldvaluesbench,
)
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.instances import Instance, Split
from culnig_tl.tasks.question_rows import holds_questions
from culnig_tl.tasks.templates import (
    Item,
    Template,
    balanced_limit,
    question_of,
    read_templates,
    render,
)

ItemLoader = Callable[[Split, tuple[str, ...] | None, Path | None], list[Item]]


@dataclass(frozen=True)
class Task:
    """How a task's items are loaded, its own templates, and the splits it has.

    A task of your own is an entry of `TASKS`. `countries`: its groups are countries, in any usual
    spelling; else they are called as its file calls them.
    """

    load_items: ItemLoader
    templates: tuple[Template, ...]
    splits: tuple[Split, ...]
    countries: bool = True

    def called(self, group: str) -> str:
        """The one spelling of a group that the task asks about.

        Raises:
            CulnigError: an unknown country, where its groups are countries.
        """
        return country_name(group) if self.countries else group.strip()

    @property
    def word(self) -> str:
        """What one of its groups is called."""
        return "country" if self.countries else "group"

    @property
    def words(self) -> str:
        """The same of several."""
        return "countries" if self.countries else "groups"


# Of a file of one's own: its questions, and passages that name its groups.
OWN, OWN_NAMES = "own", "own-names"
TASKS: dict[str, Task] = {
    "everyday": Task(everyday.load_items, (everyday.TEMPLATE,), everyday.SPLITS),
    "blend": Task(blend.load_items, (blend.TEMPLATE,), blend.SPLITS),
    "countryrc": Task(countryrc.load_items, countryrc.TEMPLATES, countryrc.SPLITS),
    "commonsense": Task(controls.commonsense_items, (controls.COMMONSENSE,), controls.SPLITS),
    "paraphrase": Task(controls.paraphrase_items, (controls.PARAPHRASE,), controls.SPLITS),
    "culturalbench": Task(culturalbench.load_items, culturalbench.TEMPLATES, culturalbench.SPLITS),
    "normad": Task(normad.load_items, normad.TEMPLATES, normad.SPLITS),
    "worldvaluesbench": Task(
        worldvaluesbench.load_items, worldvaluesbench.TEMPLATES, worldvaluesbench.SPLITS
    ),
    "commonsenseqa": Task(commonsenseqa.load_items, commonsenseqa.TEMPLATES, commonsenseqa.SPLITS),
    "qnli": Task(qnli.load_items, qnli.TEMPLATES, qnli.SPLITS),
    "mrpc": Task(mrpc.load_items, mrpc.TEMPLATES, mrpc.SPLITS),
    OWN: Task(own.load_items, (own.TEMPLATE,), own.SPLITS, countries=False),
    OWN_NAMES: Task(own_names.load_items, (own_names.TEMPLATE,), own_names.SPLITS, countries=False),
}


def load_task(
    name: str,
    split: Split,
    *,
    groups: Sequence[str] | None = None,
    limit: int | None = None,
    data: str | Path | None = None,
    templates: int | str | Path | None = None,
    passages: str | Path | None = None,
) -> list[Instance]:
    """The instances of one split of a task.

    Args:
        name: one of `TASKS`.
        split: `neuron` (find neurons), `control` (the same items without the question: only the
            answer instruction and the options; cloze: `Answer:`), or `test`.
        groups: only these; None takes all that the task has (`countryrc`: the eight focus
            countries). A country may be in any usual spelling.
        limit: at most so many items, evenly over groups, the same ones for `neuron` and
            `control`; different questions first, further items of one only when there are no more.
            With several templates each item comes once per template.
        data: a local file or folder in the Hub's schema; without it the Hub, or the bundled file.
        templates: a JSON file of prompt templates, in place of the task's own; or a number: the
            first so many of the task's own. None takes all of its own for the split `test`, and
            the first one for the others.
        passages: for `own-names`, a JSON file of passages in place of the package's own.

    Raises:
        CulnigError: an unknown task, split or group, malformed data or templates, nothing left.

    Example:
        >>> questions = load_task("everyday", "neuron", groups=["Spain", "Iran"], limit=4)
        >>> sorted(question.group for question in questions)
        ['Iran', 'Iran', 'Spain', 'Spain']
    """
    task = task_of(name, split)
    chosen = None if groups is None else tuple(dict.fromkeys(map(task.called, groups)))
    more = {} if passages is None else {"passages": Path(passages)}
    if more and name != OWN_NAMES:
        raise CulnigError(f"passages are given for task {name!r}: they belong to {OWN_NAMES!r}")
    file = None if data is None else Path(data)
    try:
        items = task.load_items(split, chosen, file, **more)
    except CulnigError as error:
        if file is None or name in (OWN, OWN_NAMES) or not holds_questions(file):
            raise
        raise CulnigError(
            f"{file} holds questions of your own, and {name!r} reads other columns: give it as "
            f"--questions {file}"
        ) from error
    if chosen is not None:
        items = [item for item in items if item.group is None or item.group in chosen]
    if not items:
        raise CulnigError(f"task {name!r}, split {split!r}: no instance for {groups}")
    twice = [key for key, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise CulnigError(f"task {name!r}: two items have the id {twice[0]!r}; give each its own")
    wording = _wording(task, name, split, templates=templates)
    questions = [question_of(item, task.templates[0], name) for item in items]
    return render(balanced_limit(items, limit, questions), wording, name, split=split)


def task_of(name: Any, split: Split) -> Task:
    """The task of this name, which has this split.

    Raises:
        CulnigError: it is unknown, or has no such split.
    """
    check_choice("task", name, TASKS, otherwise="questions of your own: --questions FILE")
    task = TASKS[name]
    if split not in task.splits:
        raise CulnigError(f"task {name!r} has no split {split!r}: it has {', '.join(task.splits)}")
    return task


def _wording(
    task: Task, name: str, split: Split, *, templates: int | str | Path | None
) -> Sequence[Template]:
    if isinstance(templates, str | Path):
        return read_templates(Path(templates), name, task.templates[0])
    if templates is None:
        return task.templates if split == "test" else task.templates[:1]
    if templates < 1:
        raise CulnigError(f"templates is {templates}: give 1 or more, or a JSON file")
    return task.templates[:templates]
