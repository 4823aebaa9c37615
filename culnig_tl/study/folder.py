"""The folder of a run: where its files are, and run.json, which says what it is of.

Nothing is written here.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from culnig_tl.checks import shown
from culnig_tl.earlier import ARGUMENTS, PARTS, named_now
from culnig_tl.errors import CulnigError
from culnig_tl.schemas import damaged, read_object
from culnig_tl.study.arguments import EARLIER, Study, check_study
from culnig_tl.study.data import StudyData
from culnig_tl.study.maskings import Masking
from culnig_tl.tasks.instances import content_hash

_RUN = {
    "arguments": dict,
    "datasets": {...: {"instances": int, "hash": str}},
    "versions": {...: str},
    "model": {"name": str},
}
_MEND = "put the original back, or make the run again in another folder"


def scores_file(out: Path, name: str) -> Path:
    """The file of scores of one part; that of an earlier version where it is there."""
    before = [earlier for earlier, now in PARTS.items() if now == name]
    files = [out / "scores" / f"{one}.safetensors" for one in (name, *before)]
    return next((file for file in files if file.exists()), files[0])


def set_file(out: Path, name: str) -> Path:
    return out / "sets" / f"{name}.json"


def evaluation_file(out: Path, name: str) -> Path:
    return out / "evaluations" / f"{name}.csv"


def read_run_file(out: Path) -> dict[str, Any]:
    """What run.json in the folder of a run holds: arguments, datasets, model, versions.

    Raises:
        CulnigError: no such file, or a damaged one.
    """
    about = read_object(Path(out) / "run.json", _RUN, remedy=_MEND)
    arguments, datasets = about["arguments"], about["datasets"]
    renamed = {
        "arguments": named_now(arguments, ARGUMENTS),
        "datasets": named_now(datasets, PARTS),
    }
    return about | renamed


def study_of(out: Path, *, trust_remote_code: bool = False) -> Study:
    """The arguments of a run, from its folder; what an earlier version did not have is as it is
    by default.

    All but one: code that comes with a model is run if the caller trusts it, whatever was said
    when the run was made, or is written in its file.

    Raises:
        CulnigError: the folder holds no run, one with arguments of a later version, or arguments
            that are none (`check_study`).
    """
    file = Path(out) / "run.json"
    given = read_object(file, {"arguments": dict}, remedy=_MEND)["arguments"]
    given, defaults = named_now(given, ARGUMENTS), vars(Study())
    later = [key for key in given if key not in defaults]
    if later:
        raise CulnigError(
            f"{file} has an argument {shown(later[0])}, which this version does not know: use the "
            "version that made the run, or make it again in another folder"
        )
    arguments: dict[str, Any] = {**defaults, **EARLIER, **given}
    arguments |= {"trust_remote_code": trust_remote_code}
    try:
        check_study(arguments)
    except CulnigError as error:
        raise damaged(file, str(error), remedy=_MEND) from error
    for key in ("groups", "tests"):
        if arguments[key] is not None:
            arguments[key] = tuple(arguments[key])
    for key in ("top_mlp", "top_attention", "remove", "top", "least_z", "factor"):
        arguments[key] = float(arguments[key])
    return Study(**arguments)


def with_absolute_paths(study: Study) -> Study:
    """The study with absolute paths: of a model's folder, of data and templates."""
    return replace(
        study,
        model=os.path.abspath(study.model) if os.path.isdir(study.model) else study.model,
        data={task: os.path.abspath(path) for task, path in study.data.items()},
        templates=study.templates and os.path.abspath(study.templates),
    )


def study_arguments(study: Study) -> dict[str, Any]:
    """The arguments as they come back from run.json."""
    return json.loads(json.dumps(asdict(study)))


def dataset_hashes(data: StudyData) -> dict[str, Any]:
    """How many instances each part of the data has, and the hash of all they say."""
    return {
        name: {"instances": len(instances), "hash": content_hash(list(instances))}
        for name, instances in data.parts.items()
    }


def check_links(out: Path) -> None:
    """Refuse a run's folder from which a link leads out: what is written there lands elsewhere.

    The folder itself may be a link.

    Raises:
        CulnigError: there is one; the message has both ends.
    """
    home = Path(os.path.realpath(out))
    for path in sorted(home.rglob("*")):
        if path.is_symlink():
            end = Path(os.path.realpath(path))
            if not end.is_relative_to(home):
                raise CulnigError(
                    f"{path} is a link to {end}, out of the run's folder: put the file or folder "
                    "itself there, or make the run anew"
                )


def check_finished(out: Path) -> None:
    """Refuse a folder without a finished run.

    Raises:
        CulnigError: it holds none.
    """
    if not (out / "table.csv").exists():
        raise CulnigError(f"{out} holds no finished run: finish it with culnig run --out {out}")


def missing_files(out: Path, maskings: Sequence[Masking]) -> list[str]:
    """What a finished run would hold and this folder does not.

    Only a set that was left out, as it had no neurons, has neither a file nor an evaluation.
    """
    missing = []
    for masking in maskings:
        files = {f"evaluation of {masking.name!r}": evaluation_file(out, masking.name)}
        if masking.select is not None:
            files[f"set {masking.name!r}"] = set_file(out, masking.name)
        absent = [what for what, file in files.items() if not file.exists()]
        if masking.kind in ("original", "general") or len(absent) < len(files):
            missing += absent
    return missing
