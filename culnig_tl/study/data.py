"""The data of a study: what neurons are found on, and what is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from culnig_tl.study.arguments import Study
from culnig_tl.tasks import OWN, OWN_NAMES, TASKS, load_task
from culnig_tl.tasks.countries import COUNTRIES, FOCUS_COUNTRIES
from culnig_tl.tasks.instances import Instance, Split
from culnig_tl.tasks.own import groups_of

SCORED = ("neuron", "control", "countryrc")


@dataclass(frozen=True)
class StudyData:
    """The instances of a study, by what they are used for.

    Attributes:
        neuron: cultural ones, on which neurons are found.
        control: the same ones without their question.
        countryrc: passages whose answer is a country's name.
        tests: what is asked, by task; the study's own task comes first.
    """

    neuron: Sequence[Instance]
    control: Sequence[Instance]
    countryrc: Sequence[Instance]
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
    passages, own_file = passage_countries(study), study.data.get(OWN)
    names = OWN_NAMES if study.task == OWN else "countryrc"

    def load(
        task: str,
        split: Split,
        limit: int,
        *,
        templates: int | str | None,
        countries: tuple[str, ...] | None = study.countries,
    ) -> list[Instance]:
        where = passages if task == names else countries
        if study.task == OWN and task not in (OWN, OWN_NAMES):
            where = None  # whose groups are others
        return load_task(
            task,
            split,
            countries=where,
            limit=limit or None,
            data=own_file if task == OWN_NAMES else study.data.get(task),
            templates=templates,
        )

    own = study.templates or study.template_count
    groups: list[tuple[int, tuple[str, ...] | None]] = [(study.test_limit, study.countries)]
    if study.focus_limit:
        among = chosen_countries(study) or (passages if study.task == OWN else COUNTRIES)
        others = tuple(country for country in among if country not in passages)
        groups = [(study.focus_limit, passages), (study.test_limit, others)]
    neuron = load(study.task, "neuron", study.limit, templates=study.templates)
    control = load(study.task, "control", study.limit, templates=study.templates)
    countryrc = load(names, "neuron", study.rc_limit, templates=None)
    tests = {
        study.task: [
            instance
            for limit, countries in groups
            if countries != ()
            for instance in load(study.task, "test", limit, templates=own, countries=countries)
        ]
    }
    for test in study.tests:
        tests[test] = load(test, "test", study.other_limit, templates=study.template_count)
    return StudyData(neuron=neuron, control=control, countryrc=countryrc, tests=tests)


def cultural_instances(study: Study, countries: tuple[str, ...] | None, limit: int) -> list:
    """Test instances of the study's own task; limit 0 takes all."""
    templates = study.templates or study.template_count
    data = study.data.get(study.task)
    return load_task(
        study.task, "test", countries=countries, limit=limit or None, data=data, templates=templates
    )


def chosen_countries(study: Study) -> tuple[str, ...] | None:
    """The countries (or groups) of a study, each in its one spelling; None: all that there are."""
    if study.countries is None:
        return None
    return tuple(map(TASKS[study.task].called, study.countries))


def passage_countries(study: Study) -> tuple[str, ...]:
    """The countries of CountryRC and of the specific sets: the focus countries of the study, or
    the groups of a file of questions."""
    chosen = chosen_countries(study)
    if study.task == OWN:
        return chosen or groups_of(study.data[OWN])
    if chosen is None:
        return FOCUS_COUNTRIES
    return tuple(c for c in FOCUS_COUNTRIES if c in chosen) or chosen
