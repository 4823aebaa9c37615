"""One folder, one study: what may be added to a run, and what is refused.

run.json is written before anything else. It notes the arguments, the data by hash, the model by
the hash of its weights, and the version of this package's numbers. Whatever is added to the folder
later, by the run or by a step on it, is first checked against run.json, and a step notes what its
own results depend on in a file of its own (`note_arguments`). So every file in the folder is of
one study, although tables (CSV) do not say of which.

Arguments that only later parts depend on may change until such a part has used them:

- those of the tests (`tests`, the limits of tests, `template_count`): until something is evaluated;
- those of the selection, and `factor`: until a set of neurons is evaluated, or a step has run;
- `top` and `least_z`: until a culture-specific set is;
- `seeds`, `matched_seeds`, `specific`, `ablations`, `sweep` may always ask for more. They may ask
  for less while what they leave out is not evaluated.
- Where it runs (`device`, `devices`, `token_budget`) and what files are called (`data`,
  `templates`; `revision`) may change, as their contents are compared.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.models.identity import commit_of, weights_of
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import NUMBERS, Provenance, sha256_of
from culnig_tl.study.arguments import EARLIER, Study
from culnig_tl.study.data import StudyData, passage_groups
from culnig_tl.study.folder import dataset_hashes, study_arguments
from culnig_tl.study.maskings import study_maskings

# The steps on a run by their folders, and the file in which each notes its arguments.
STEPS = {
    "verify": "verify.json",
    "methods": "methods.json",
    "short-answers": "short-answers.json",
    "finetune": "comparison.json",
    "precision": "precision.json",
    "lm-eval": "arguments.json",
    "neurons": "arguments.json",
}
_WHERE_IT_RUNS = ("device", "devices", "token_budget", "trust_remote_code")
_BY_CONTENT = ("data", "templates")
_TESTS = ("tests", "template_count", "test_limit", "focus_limit", "other_limit")
_SELECTION = (
    *("variant", "target", "top_mlp", "top_attention", "remove", "control", "name_filter"),
    "factor",
)
_SPECIFIC = ("top", "least_z")
# How many of a kind of masking, or whether there are any.
_PARTS = {
    "seeds": "random",
    "matched_seeds": "matched",
    "specific": "specific",
    "ablations": "ablation",
    "sweep": "sweep",
}
_log = logging.getLogger(__name__)


def check_same_study(out: Path, run: Mapping[str, Any], study: Study, *, datasets: Mapping) -> None:
    """Refuse to go on in a folder that holds another study (see above).

    Raises:
        CulnigError: it does; the message has both values.
    """
    found = {"weights": weights_of(study.model, revision=study.revision)}
    check_model(out, run, found | {"revision": commit_of(study.model, revision=study.revision)})
    there = _evaluated(out)
    for key, (before, value) in changed_arguments(run, study).items():
        used = _used(out, there, study, key=key, before=before)
        if used is not None:
            raise CulnigError(
                f"{out} holds a run with {key} = {before!r}{used}, this one has {value!r}: choose "
                "another folder with --out, or start anew in it with --force"
            )
    for key in dict.fromkeys((*datasets, *run["datasets"])):
        before, value = run["datasets"].get(key), datasets.get(key)
        if before != value and (there or not key.endswith(" test")):
            raise _other_data(out, key, before, now=value)


def changed_arguments(run: Mapping[str, Any], study: Study) -> dict[str, tuple[Any, Any]]:
    """The arguments in which the study is not that of run.json, before and now.

    Without those of where it runs, and of what files are called.
    """
    held, defaults = run["arguments"], study_arguments(Study()) | EARLIER
    skipped = {*_WHERE_IT_RUNS, *_BY_CONTENT}
    if "weights" in run["model"]:
        skipped.add("revision")
    pairs = {
        key: (_absolute(key, held.get(key, defaults[key])), value)
        for key, value in study_arguments(study).items()
        if key not in skipped
    }
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def check_data(out: Path, run: Mapping[str, Any], data: StudyData) -> None:
    """Refuse data that are not those of the run.

    Raises:
        CulnigError: they are others; the message has both hashes.
    """
    for key, value in dataset_hashes(data).items():
        if run["datasets"].get(key) != value:
            raise _other_data(out, key, run["datasets"].get(key), now=value)


def check_model(out: Path, run: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse another model than that of the run; `found` has its weights and revision.

    What is not known of one of them (None, or a run of an earlier version) is not compared.

    Raises:
        CulnigError: it is another; the message has both values.
    """
    held = run["model"]
    remedies = {
        "revision": f"ask for the same commit (--revision {held.get('revision')})",
        "weights": "put the model's files back",
    }
    for key, remedy in remedies.items():
        before, now = held.get(key), found.get(key)
        if None in (before, now) or "unknown" in (before, now) or before == now:
            continue
        raise CulnigError(
            f"{out} holds a run of {held.get('name')} with {key} {before}, now it has {now}: "
            f"{remedy}, choose another folder with --out, or start anew in it with --force"
        )


def check_numbers(out: Path, run: Mapping[str, Any]) -> None:
    """Refuse a run of a version of this package that computed other numbers.

    Raises:
        CulnigError: it is; the message has both.
    """
    before = run.get("versions", {}).get("numbers")
    if before is None or "weights" not in run["model"]:
        _log.warning(
            "%s was made before runs noted their weights and numbers: whether the model and this "
            "version's numbers are the same cannot be told",
            out,
        )
    elif before != str(NUMBERS):
        raise CulnigError(
            f"{out} holds a run with numbers of version {before}, this culnig-tl computes those of "
            f"version {NUMBERS}: go on with the version that made it, or choose another folder "
            "with --out"
        )


def set_hashes(sets: Iterable[NeuronSet]) -> dict[str, str]:
    """A hash of the neurons of each set by name, to be noted."""
    return {neurons.name: sha256_of(neurons.ids.tolist())[:16] for neurons in sets}


def check_scores(
    file: Path,
    scores: Scores,
    model: Mapping[str, Any],
    *,
    dataset: str,
    arguments: Mapping[str, Any],
) -> Scores:
    """Refuse saved scores that are not of this model, this data and these numbers.

    Raises:
        CulnigError: they are not; the message has both values.
    """
    about = scores.provenance
    pairs = {
        "dataset hash": (about["dataset"]["hash"], dataset),
        "numbers": (about.get("versions", {}).get("numbers"), str(NUMBERS)),
        **{key: (about["model"].get(key), model.get(key)) for key in ("name", "weights", "dtype")},
        **{
            key: (about["arguments"].get(key, EARLIER.get(key)), value)
            for key, value in arguments.items()
        },
    }
    for what, (before, now) in pairs.items():
        if before != now and before is not None and now is not None:
            raise CulnigError(
                f"{file} was made with {what} {before}, expected {now}: delete it, or give the "
                "file that belongs to it"
            )
    return scores


def check_set(file: Path, neurons: NeuronSet, run: Mapping[str, Any]) -> NeuronSet:
    """Refuse a saved set of another model than the run's.

    Raises:
        CulnigError: it is; the message has both values.
    """
    about: Provenance = neurons.provenance.get("model") or {}
    for key in ("name", "weights"):
        before, now = about.get(key), run["model"].get(key)
        if before != now and before is not None and now is not None:
            raise CulnigError(
                f"{file} was made from a model with {key} {before}, the run's has {now}: delete "
                "the file and run culnig run again"
            )
    return neurons


def _other_data(out: Path, key: str, before: object, *, now: object) -> CulnigError:
    return CulnigError(
        f"{out} holds a run on other data ({key}: {before}, now {now}): choose another folder with "
        "--out, or start anew in it with --force"
    )


def _evaluated(out: Path) -> list[str]:
    """The names of the evaluations that are there."""
    return sorted(file.stem for file in (out / "evaluations").glob("*.csv"))


def _used(out: Path, there: Sequence[str], study: Study, *, key: str, before: Any) -> str | None:
    """Whether an argument may not change any more: by what it was used, or None."""
    sets = [name for name in there if name != "original"]
    if key in _TESTS:
        users = there
    elif key in _SELECTION:
        users = sets + [step for step in STEPS if (out / step).exists()]
    elif key in _SPECIFIC:
        users = [name for name in sets if name in passage_groups(study)]
    elif key in _PARTS:
        users = _lost(there, study, key, before=before)
    else:
        return ""  # the scores depend on it
    return f" (used by {users[0]!r})" if users else None


def _lost(there: Sequence[str], study: Study, key: str, *, before: Any) -> list[str]:
    """Evaluations that are there and that the study does not ask for any more."""
    try:
        held = study_maskings(replace(study, **{key: before}))
    except CulnigError:  # a mistake, of which nothing was made
        return []
    asked = {masking.name for masking in study_maskings(study)}
    lost = [m.name for m in held if m.kind == _PARTS[key] and m.name not in asked]
    return [name for name in lost if name in there]


def _absolute(key: str, value: Any) -> Any:
    """A model's folder as an earlier version noted it: from where it was started."""
    return os.path.abspath(value) if key == "model" and os.path.isdir(value) else value
