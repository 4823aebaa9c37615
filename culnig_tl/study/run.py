"""A finished run: its study, neurons, scores, evaluations and tables, and the steps on it.

`Run.open` reads a folder that `run_study` has filled; nothing is written but by `write_report` and
by a step (`Run.step`). Neither a model nor torch is loaded until `load_model` is called.
"""

import functools
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.analysis.evaluations import read_evaluation
from culnig_tl.checks import check_choice, check_count, shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written
from culnig_tl.frames import Frame, read_frame, write_frame
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.identity import commit_of, weights_of
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import note_arguments
from culnig_tl.schemas import damaged
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import SCORED, StudyData, study_data
from culnig_tl.study.folder import (
    check_finished,
    check_links,
    evaluation_file,
    missing_files,
    read_run_file,
    scores_file,
    set_file,
    study_of,
)
from culnig_tl.study.maskings import GENERAL, Masking, study_maskings
from culnig_tl.study.once import STABILITY_FILE, evaluation_once, frame_once, text_once
from culnig_tl.study.same_study import (
    STEPS,
    check_data,
    check_model,
    check_numbers,
    check_scores,
    check_set,
)
from culnig_tl.study.tables import STABILITY, study_tables
from culnig_tl.tasks import OWN_NAMES
from culnig_tl.tasks.instances import Instance


@dataclass(frozen=True, repr=False)
class Run:
    """The folder of a finished run, as `run_study` leaves it.

    Attributes:
        folder: where it is.
        about: what run.json notes: arguments, datasets, model, versions.
        study: the arguments it was made with.

    Example:
        `run` is of a tiny model; `Run.open("runs/demo")` opens that of `make demo`.

        >>> run.neurons.name, [neurons.name for neurons in run.random()]
        ('culture-general', ['random-0'])
        >>> list(run.table.index)
        ['everyday', 'paraphrase']
        >>> run.scores("control").provenance["dataset"]["split"]
        'control'
    """

    folder: Path
    about: Mapping[str, Any]
    study: Study

    @classmethod
    def open(cls, folder: str | Path, *, trust_remote_code: bool = False) -> "Run":
        """Open the folder of a finished run; nothing is written.

        Args:
            trust_remote_code: as `load_model`; a run's own file gives no trust.

        Raises:
            CulnigError: the folder holds no finished run, or a damaged run.json.
        """
        folder = Path(folder)
        about, study = read_run_file(folder), study_of(folder, trust_remote_code=trust_remote_code)
        missing = missing_files(folder, study_maskings(study))
        if missing:
            raise CulnigError(
                f"{folder} holds no {missing[0]}: finish it with culnig run --out {folder}"
            )
        return cls(folder, about, study)

    @classmethod
    def for_step(
        cls, run: "Run | str | Path", *, trust_remote_code: bool = False, numbers: bool = True
    ) -> "Run":
        """A run, or the one in a folder, for a step that adds to it.

        Args:
            trust_remote_code: as `open`; a run that is given has its own.
            numbers: whether the step computes numbers, which must be those of this version.

        Raises:
            CulnigError: as `open`; a link leads out of the folder; the model is not what it was,
                or the version of the numbers is another.
        """
        if not isinstance(run, Run):
            check_finished(Path(run))
            run = Run.open(run, trust_remote_code=trust_remote_code)
        check_finished(run.folder)
        check_links(run.folder)
        if numbers:
            check_numbers(run.folder, run.about)
        pinned = run.pinned
        weights = weights_of(pinned.model, revision=pinned.revision)
        check_model(run.folder, run.about, {"weights": weights})
        return run

    @functools.cached_property
    def pinned(self) -> Study:
        """The study with the commit of the Hub that the run used, if it is in the local cache."""
        revision = str(self.about["model"].get("revision"))
        here = commit_of(self.study.model, revision=revision) == revision
        return replace(self.study, revision=revision) if here else self.study

    @functools.cached_property
    def maskings(self) -> list[Masking]:
        """What was masked; a set that had no neurons is left out."""
        maskings = study_maskings(self.study)
        return [m for m in maskings if evaluation_file(self.folder, m.name).exists()]

    @functools.cached_property
    def sets(self) -> dict[str, NeuronSet]:
        """All sets of neurons by name.

        Raises:
            CulnigError: a file is damaged, or of another model than the run.
        """
        found = {}
        for masking in self.maskings:
            if masking.select is None:
                continue
            file = set_file(self.folder, masking.name)
            neurons = NeuronSet.load(
                file, layout=next(iter(found.values())).layout if found else None
            )
            if neurons.name != file.stem:  # other files are called by it
                raise damaged(
                    file, f"its set is named {shown(neurons.name)}, expected {file.stem!r}"
                )
            found[masking.name] = check_set(file, neurons, self.about)
        return found

    @property
    def neurons(self) -> NeuronSet:
        """The culture-general neurons."""
        return self.sets[GENERAL]

    @property
    def specific(self) -> dict[str, NeuronSet]:
        """The culture-specific neurons by group; none where the study did not ask for them."""
        return {neurons.name: neurons for neurons in self.of_kind("specific")}

    def random(self, count: int | None = None) -> list[NeuronSet]:
        """The first `count` random sets: uniform ones, or matched ones if there are no others.

        Raises:
            CulnigError: the run has fewer.
        """
        sets = self.of_kind("random") or self.of_kind("matched")
        if count is None:
            return sets
        unit = "random sets, as many as the run has"
        check_count("seeds", count, least=1, most=len(sets), unit=unit)
        return sets[:count]

    def of_kind(self, kind: str) -> list[NeuronSet]:
        """The sets of one kind (`Masking.kind`)."""
        return [self.sets[m.name] for m in self.maskings if m.kind == kind]

    def scores(self, name: str = "neuron") -> Scores:
        """The scores on which the selection is based: `neuron`, `control` or `names`.

        Raises:
            CulnigError: an unknown name; a damaged file, or one of another model or other data.
        """
        check_choice("scores", name, SCORED)
        return self.scores_in(self.folder, name, self.about["model"])

    def scores_in(self, folder: Path, name: str, model: Mapping[str, Any]) -> Scores:
        """The same in another folder, of the run's data and of this model (`describe_model`)."""
        file = scores_file(folder, name)
        hashed = self.about["datasets"][name]["hash"]
        return check_scores(file, Scores.load(file), model, dataset=hashed, arguments={})

    @functools.cached_property
    def evaluations(self) -> dict[str, pd.DataFrame]:
        """All evaluations by name (`evaluate`); `original` is that with nothing masked.

        Raises:
            CulnigError: a file is damaged, or has other questions than were asked.
        """
        frames = {
            m.name: read_evaluation(evaluation_file(self.folder, m.name)) for m in self.maskings
        }
        _check_rows(self, frames)
        return frames

    def evaluation(self, name: str = "original") -> pd.DataFrame:
        """One evaluation: `original`, or with the set of this name masked.

        Raises:
            CulnigError: there is none of this name, or as `evaluations`.
        """
        check_choice("evaluation", name, self.evaluations)
        return self.evaluations[name]

    @functools.cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables of the study by name (`study_tables`)."""
        file = self.folder / STABILITY_FILE
        stable = read_frame(file, STABILITY) if file.exists() else None
        tables = study_tables(self.maskings, self.sets, self.evaluations, stable=stable)
        names = self.study.names
        return {k: table.rename(index=names, columns=names) for k, table in tables.items()}

    @property
    def table(self) -> pd.DataFrame:
        """What masking does, by test (`compare`)."""
        return self.tables["table"]

    @functools.cached_property
    def data(self) -> StudyData:
        """The instances that were scored and asked, read again.

        Raises:
            CulnigError: they are not those of the run; the message has both hashes.
        """
        data = study_data(self.study)
        check_data(self.folder, self.about, data)
        return data

    @functools.cached_property
    def own_data(self) -> StudyData:
        """The instances of the study's own task and of the passages of names, read again.

        Raises:
            CulnigError: they are not those of the run.
        """
        needed = (self.study.task, "countryrc", OWN_NAMES)
        own = {name: path for name, path in self.study.data.items() if name in needed}
        data = study_data(replace(self.study, tests=(), data=own))
        check_data(self.folder, self.about, data)
        return data

    def load_model(self) -> HookedModel:
        """The run's model, hooked.

        Raises:
            CulnigError: as `load_model`.
        """
        return load_study_model(self.pinned)

    def load_hf_model(self, *, devices: int = 1) -> tuple[Any, Any]:
        """The Hugging Face model behind it, and its tokenizer.

        Raises:
            CulnigError: as `load_hf_model`.
        """
        from culnig_tl.models.loading import load_hf_model

        study = self.pinned
        return load_hf_model(
            study.model,
            dtype=study.dtype,
            revision=study.revision,
            trust_remote_code=study.trust_remote_code,
            devices=devices,
        )

    def write_report(self) -> Path:
        """Write the tables and report.html anew, from the files of the run and its steps.

        Returns:
            The report's file.

        Raises:
            CulnigError: a file is damaged, or the folder cannot be written.
        """
        from culnig_tl.study.report import write_report

        check_links(self.folder)
        for name, table in self.tables.items():
            write_frame(table, self.folder / f"{name}.csv", index=True)
        return write_report(self)

    def step(self, name: str, *, part: str = "", **arguments: Any) -> "Step":
        """The folder of a step on this run, bound to what its results depend on.

        Args:
            name: one of `STEPS`.
            part: a folder of its own within the step's, as of a task.
            arguments: what is noted; a folder made with others is refused.

        Raises:
            CulnigError: it was made with other arguments; the message has both.
        """
        folder = self.folder / name / part
        if arguments:
            note_arguments(folder / STEPS[name], arguments)
        clear_half_written(folder, deep=True)
        return Step(self, folder)

    def __repr__(self) -> str:
        steps = [name for name in STEPS if (self.folder / name).is_dir()]
        return (
            f"Run of {self.about['model']['name']} in {self.folder}: {self.neurons!r}; "
            f"{len(self.maskings)} evaluations; steps: {', '.join(steps) or 'none'}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.table.to_html(float_format='%.3g')}"


@dataclass(frozen=True)
class Step:
    """A step on a run: what is in its folder already is read, what is not is made.

    Attributes:
        run: the run.
        folder: where the step's files are.
    """

    run: Run
    folder: Path

    @functools.cached_property
    def model(self) -> HookedModel:
        """The run's model, loaded when it is first needed."""
        return self.run.load_model()

    def frame(
        self,
        name: str,
        schema: Frame,
        make: Callable[[], pd.DataFrame],
        *,
        index: bool = False,
    ) -> pd.DataFrame:
        """The table `NAME.csv` (`frame_once`)."""
        return frame_once(self.folder / f"{name}.csv", schema, make, index=index)

    def text(self, name: str, make: Callable[[], str]) -> str:
        """The text in the file `name` (`text_once`)."""
        return text_once(self.folder / name, make)

    def evaluation(
        self, file: Path, instances: Sequence[Instance], neurons: NeuronSet | None = None
    ) -> pd.DataFrame:
        """The evaluation in `file`, made as the run made its own (`evaluation_once`)."""
        return evaluation_once(
            file, lambda: self.model, instances, study=self.run.study, neurons=neurons
        )

    def write(self, name: str, table: pd.DataFrame, *, index: bool = True) -> None:
        """Write a table that is worked out anew each time."""
        write_frame(table, self.folder / f"{name}.csv", index=index)


def load_study_model(study: Study) -> HookedModel:
    """The study's model, hooked.

    Raises:
        CulnigError: as `load_model`.
    """
    from culnig_tl.models.loading import load_model

    return load_model(
        study.model,
        model_class=study.model_class,
        dtype=study.dtype,
        device=study.device,
        revision=study.revision,
        trust_remote_code=study.trust_remote_code,
        devices=study.devices,
    )


def _check_rows(run: Run, frames: Mapping[str, pd.DataFrame]) -> None:
    """Refuse evaluations with other rows than were asked, which only an edited file has.

    Raises:
        CulnigError: the file, and how many rows of a task it has or which it should not have.
    """
    key, original = ["task", "id", "group"], frames["original"]
    counts = original["task"].value_counts()
    for name, about in run.about["datasets"].items():
        task = name.removesuffix(" test")
        if task != name and counts.get(task, 0) != about["instances"]:
            raise damaged(
                evaluation_file(run.folder, "original"),
                f"{counts.get(task, 0)} rows of {task}, expected {about['instances']}",
            )
    asked = {tuple(row) for row in original[key].to_numpy()}
    for masking in run.maskings:
        frame = frames[masking.name]
        some = masking.kind in ("specific", "sweep")
        strange = [row for row in map(tuple, frame[key].to_numpy()) if row not in asked]
        if strange or not (some or frame[key].equals(original[key])):
            what = f"asks {shown(strange[0])}" if strange else f"{len(frame)} rows"
            raise damaged(
                evaluation_file(run.folder, masking.name),
                f"{what}, expected the {len(original)} questions of original.csv in their order",
            )
