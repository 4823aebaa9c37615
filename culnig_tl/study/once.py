"""Once: scores, evaluations and tables of a run, made where they are not there yet.

Of several processes the first looks, all make what is missing together, and the first writes. What
was just made is read back, so that a run that goes on later sees the same numbers.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from culnig_tl.analysis.evaluations import read_evaluation, write_evaluation
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.files import write_atomically
from culnig_tl.frames import Frame, read_frame, write_frame
from culnig_tl.models.choices import HookedModel
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.neurons.stability import stability
from culnig_tl.processes import agreed, barrier
from culnig_tl.study.arguments import Study, evaluation_budget
from culnig_tl.study.folder import scores_file
from culnig_tl.study.maskings import GENERAL, Masking
from culnig_tl.study.same_study import check_scores
from culnig_tl.tasks.instances import Instance, content_hash

STABILITY_FILE = "stability.csv"
_log = logging.getLogger(__name__)


def once(file: Path, make: Callable[[], None]) -> None:
    """Call `make`, which writes `file`, unless it is there."""
    if not agreed(file.exists()):
        make()
        barrier()  # it is there


def text_once(file: Path, make: Callable[[], str]) -> str:
    """The text in `file`, made if it is not there."""

    def write() -> None:
        text = make()
        write_atomically(file, lambda name: name.write_text(text, encoding="utf-8"))

    once(file, write)
    return file.read_text(encoding="utf-8")


def frame_once(
    file: Path, schema: Frame, make: Callable[[], pd.DataFrame], *, index: bool = False
) -> pd.DataFrame:
    """The table in `file`, made if it is not there; `index`: its index is saved too.

    Raises:
        CulnigError: it is damaged.
    """
    once(file, lambda: write_frame(make(), file, index=index))
    return read_frame(file, schema)


def evaluation_once(
    file: Path,
    model: Callable[[], HookedModel],
    instances: Sequence[Instance],
    *,
    study: Study,
    neurons: NeuronSet | None = None,
) -> pd.DataFrame:
    """The evaluation in `file`, made as the study says if it is not there.

    Args:
        model: gives the study's model; asked only where it is needed.

    Raises:
        CulnigError: the file is of other instances, or as `evaluate`.
    """

    def make() -> None:
        from culnig_tl.measure.evaluation import evaluate

        frame = evaluate(
            model(),
            instances,
            neurons,
            factor=study.factor,
            answer_format=study.answer_format,
            token_budget=evaluation_budget(study),
        )
        write_evaluation(frame, file)

    once(file, make)
    frame = read_evaluation(file)
    if list(zip(frame["task"], frame["id"], strict=True)) != [(i.task, i.id) for i in instances]:
        raise CulnigError(f"{file} is of other instances than are asked: delete it")
    return frame


def scores_once(
    folder: Path,
    model: HookedModel,
    instances: Mapping[str, Sequence[Instance]],
    *,
    study: Study,
) -> dict[str, Scores]:
    """The scores of each part of the data in `folder`, made as the study says if not there.

    Raises:
        CulnigError: they are of another model or other data, or as `attribute`.
    """
    from culnig_tl.measure.attribution import attribute
    from culnig_tl.models.description import describe_model, layout_of, tokenizer_of
    from culnig_tl.models.prompts import resolve_format
    from culnig_tl.models.sums import remove_checkpoint

    about, answer_format = describe_model(model), study.answer_format
    found = {}
    for name, part in instances.items():
        file, hashed = scores_file(folder, name), content_hash(list(part))
        if agreed(file.exists()):
            scores = Scores.load(
                file, layout=layout_of(model), model=about["name"], dataset_hash=hashed
            )
            arguments = {
                "answer_format": resolve_format(tokenizer_of(model), answer_format),
                "estimate": study.estimate,
            }
            found[name] = check_scores(file, scores, about, dataset=hashed, arguments=arguments)
            continue
        _log.info("scoring %d instances: %s", len(part), name)
        checkpoint = file.with_suffix(".checkpoint")
        found[name] = attribute(
            model,
            part,
            answer_format=answer_format,
            token_budget=study.token_budget,
            checkpoint=checkpoint,
            estimate=study.estimate,
        )
        found[name].save(file)
        remove_checkpoint(checkpoint)
    return found


def write_stability(out: Path, maskings: Sequence[Masking], scores: Mapping[str, Scores]) -> None:
    """Note how stable each selected set is (`stability`); random ones come from no questions."""
    rows = {
        m.name: stability(functools.partial(_select, m), scores)
        for m in maskings
        if m.select is not None and m.kind not in ("random", "matched")
    }
    table = pd.DataFrame(rows).T.rename_axis("set")
    write_frame(table, out / STABILITY_FILE, index=True)


def _select(masking: Masking, scores: Mapping[str, Scores]) -> NeuronSet:
    assert masking.select is not None
    return masking.select(scores, None)


def select_sets(maskings: Sequence[Masking], scores: Mapping[str, Scores]) -> dict[str, NeuronSet]:
    """The sets of these maskings by name.

    Those without neurons are left out, with a warning; the culture-general one may not be.

    Raises:
        CulnigError: it has no neurons.
    """
    sets: dict[str, NeuronSet] = {}
    for masking in maskings:
        if masking.select is None:
            continue
        try:
            sets[masking.name] = masking.select(scores, sets.get(GENERAL))
        except EmptySelection as error:
            if masking.kind == "general":
                raise
            _log.warning("left out: %s", error)
    return sets
