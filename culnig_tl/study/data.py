"""The data of a study: what neurons are found on, and what is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from culnig_tl.study.arguments import Study
from culnig_tl.tasks import OWN, OWN_NAMES, TASKS, load_task
from culnig_tl.tasks.countries import COUNTRIES, FOCUS_COUNTRIES
from culnig_tl.tasks.instances import Instance, Split
from culnig_tl.tasks.question_rows import groups_of

SCORED = ("neuron", "control", "names")


@dataclass(frozen=True)
class StudyData:
    """The instances of a study, by what they are used for.

    Attributes:
        neuron: cultural ones, on which neurons are found.
        control: the same ones without their question.
        names: passages whose answer is a group's name (CountryRC).
        tests: what is asked, by task; the study's own task comes first.
    """

    neuron: Sequence[Instance]
    control: Sequence[Instance]
    names: Sequence[Instance]
    tests: Mapping[str, Sequence[Instance]]

    @property
    def scored(self) -> dict[str, Sequence[Instance]]:
        """What neurons are scored on, by the names of `SCORED`."""
        return {name: getattr(self, name) for name in SCORED}

    @property
    def parts(self) -> dict[str, Sequence[Instance]]:
        """Everything by the names that run.json has: those of `SCORED`, and `TASK test`."""
        return self.scored | {f"{task} test": part for task, part in self.tests.items()}

    @property
    def asked(self) -> list[Instance]:
        """The instances of all tests, in their order."""
        return [instance for part in self.tests.values() for instance in part]


def study_data(study: Study) -> StudyData:
    """The instances that the study scores and asks.

    Raises:
        CulnigError: as `load_task`.
    """
    passages, own_file = passage_groups(study), study.data.get(OWN)
    of_names = OWN_NAMES if study.task == OWN else "countryrc"

    def load(
        task: str,
        split: Split,
        limit: int,
        *,
        templates: int | str | None,
        groups: tuple[str, ...] | None = study.groups,
    ) -> list[Instance]:
        where = passages if task == of_names else groups
        if study.task == OWN and task not in (OWN, OWN_NAMES):
            where = None  # whose groups are others
        return load_task(
            task,
            split,
            groups=where,
            limit=limit or None,
            data=own_file if task == OWN_NAMES else study.data.get(task),
            passages=study.data.get(OWN_NAMES) if task == OWN_NAMES else None,
            templates=templates,
        )

    own = study.templates or study.template_count
    parts: list[tuple[int, tuple[str, ...] | None]] = [(study.test_limit, study.groups)]
    if study.focus_limit:
        among = chosen_groups(study) or (passages if study.task == OWN else COUNTRIES)
        others = tuple(group for group in among if group not in passages)
        parts = [(study.focus_limit, passages), (study.test_limit, others)]
    neuron = load(study.task, "neuron", study.limit, templates=study.templates)
    control = load(study.task, "control", study.limit, templates=study.templates)
    names = load(of_names, "neuron", study.rc_limit, templates=None)
    tests = {
        study.task: [
            instance
            for limit, groups in parts
            if groups != ()
            for instance in load(study.task, "test", limit, templates=own, groups=groups)
        ]
    }
    for test in study.tests:
        tests[test] = load(test, "test", study.other_limit, templates=study.template_count)
    return StudyData(neuron=neuron, control=control, names=names, tests=tests)


def cultural_instances(study: Study, groups: tuple[str, ...] | None, limit: int) -> list:
    """Test instances of the study's own task; limit 0 takes all."""
    templates = study.templates or study.template_count
    data = study.data.get(study.task)
    return load_task(
        study.task, "test", groups=groups, limit=limit or None, data=data, templates=templates
    )


def chosen_groups(study: Study) -> tuple[str, ...] | None:
    """The groups of a study, each in its one spelling; None: all that there are."""
    if study.groups is None:
        return None
    return tuple(map(TASKS[study.task].called, study.groups))


def passage_groups(study: Study) -> tuple[str, ...]:
    """The groups of the passages and of the specific sets: the focus countries of the study, or
    the groups of a file of questions."""
    chosen = chosen_groups(study)
    if study.task == OWN:
        return chosen or groups_of(study.data[OWN])
    if chosen is None:
        return FOCUS_COUNTRIES
    return tuple(c for c in FOCUS_COUNTRIES if c in chosen) or chosen
