"""A file of one's own questions, through a whole study."""

import dataclasses

import golden
import pytest
import question_files
import tiny

from culnig_tl import Run, Study, run_study
from culnig_tl.errors import CulnigError
from culnig_tl.study.data import study_data
from culnig_tl.study.export import export_run
from culnig_tl.study.finetune import finetune_run
from culnig_tl.study.neuron_pages import neurons_run
from culnig_tl.study.precision import precision_run
from culnig_tl.study.verify import verify_run
from culnig_tl.tasks import OWN, OWN_NAMES, load_task
from culnig_tl.training.settings import Training


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return question_files.jobs(tmp_path_factory.mktemp("own"))


def study(file, **changes) -> Study:
    return Study.of_questions(file, **{"tests": (OWN_NAMES,)} | changes)


def test_the_parts_of_a_study(file):
    data = study_data(study(file, rc_limit=6, other_limit=3))
    assert {name: len(part) for name, part in data.parts.items()} == {
        "neuron": 9,
        "control": 9,
        "names": 6,
        "own test": 9,
        "own-names test": 3,
    }
    assert {one.group for one in data.names} == set(question_files.GROUPS)


def test_only_some_groups(file):
    data = study_data(study(file, groups=("nurse", "sailor")))
    for part in data.parts.values():
        assert {one.group for one in part} == {"nurse", "sailor"}


def test_a_group_that_is_not_there(file):
    with pytest.raises(CulnigError, match="no group 'pilot': it has nurse, baker, sailor"):
        study_data(study(file, groups=("nurse", "pilot")))


def test_without_a_file():
    with pytest.raises(CulnigError, match="are in no file: give one .--questions FILE"):
        Study(task=OWN)
    with pytest.raises(CulnigError, match="are in no file: give one .--questions FILE"):
        load_task(OWN, "test")


def test_passages_that_name_groups(file):
    asked = load_task(OWN_NAMES, "neuron", data=file)
    assert len(asked) == 25 * 3
    for one in asked:
        assert one.answer_text == question_files.GROUPS[one.group]
        assert one.answer_text in one.cloze
        assert "{" not in one.cloze
        assert set(one.options) == set(question_files.GROUPS.values())
    tested = load_task(OWN_NAMES, "test", data=file)
    assert not {one.cloze for one in asked} & {one.cloze for one in tested}


def test_a_whole_study_of_own_questions(file, tmp_path):
    """From the file: the sets, the report, and every step on a run, in words of groups."""
    given = study(
        file,
        model=str(tiny.byte_model(tmp_path / "tiny")),
        answer_format="cloze",
        rc_limit=6,
        other_limit=3,
        seeds=1,
        specific=True,
        ablations=True,
        top_mlp=0.2,
        top_attention=0.1,
        top=0.2,
        least_z=0.0,
    )
    run = run_study(given, tmp_path / "run")
    assert list(run.specific) == list(question_files.GROUPS)
    assert list(run.table.index) == ["jobs", "jobs, names"]
    assert "nurse" in run.tables["own"].index
    opened = Run.open(run.folder)
    assert dataclasses.asdict(opened.study) == dataclasses.asdict(run.study)
    assert len(verify_run(run, prompts=2, steps=0))
    assert "variance that the group explains" in neurons_run(run, prompts=1).read_text()
    assert len(precision_run(run, dtypes=["bfloat16"])) == 1 + len(question_files.GROUPS)
    assert len(export_run(run, tmp_path / "exported"))
    small = Training(steps=2, batch=2, evaluate_every=1)
    trained = finetune_run(
        run,
        "paraphrase",
        which=("top",),
        learning_rates=(1e-2,),
        seeds=(0,),
        training=small,
        train_limit=4,
        test_limit=4,
        culture_limit=4,
    )
    assert len(trained)
    report = golden.words(run.folder / "report.html")
    assert "Neurons of jobs in" in report
    assert "Each group's set was masked by itself" in report
    assert "countr" not in report
