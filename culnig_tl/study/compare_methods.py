"""CULNIG beside LAPE and CAPE: the rival methods on a finished run, a section of its report."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import logging
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

import pandas as pd

from culnig_tl.analysis.comparison import compare
from culnig_tl.analysis.evaluations import read_evaluation
from culnig_tl.checks import SETS_MOST, check_count, check_share
from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written
from culnig_tl.frames import write_frame
from culnig_tl.measure.activity import activation_shares
from culnig_tl.measure.perplexity import perplexity_increase
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.sums import remove_checkpoint
from culnig_tl.neurons.lape import ActivationShares, select_cape, select_lape
from culnig_tl.neurons.selection import overlap, select_random
from culnig_tl.processes import agreed, barrier
from culnig_tl.provenance import note_arguments, sha256_of
from culnig_tl.study.data import SCORED, study_data
from culnig_tl.study.folder import check_data, finished_study, set_hashes
from culnig_tl.study.running import evaluate_once, load_study_model, run_sets, write_run_report
from culnig_tl.tasks.blend import LANGUAGES, load_questions

# Every so manieth question is kept for perplexity; shares are counted on the others.
HELD_OUT = 10


_log = logging.getLogger(__name__)


def compare_methods(
    out: str | Path,
    *,
    context: int = 128,
    quantile: float = 0.95,
    top: float = 0.01,
    seeds: int = 1,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Find LAPE and CAPE neurons of a finished run's model and mask them as the run did its own.

    The texts are BLEnD's questions: by language, as each country asks them (LAPE), and by country,
    in English (CAPE). Into `out/methods` go the shares, the sets, sizes.csv, overlap.csv,
    perplexity-languages.csv and perplexity-cultures.csv (`perplexity_increase` on every tenth
    question, which the shares leave out), and table.csv: `compare` for all neurons of each method
    together, with random neurons of the same sites and layers. What is there is not done again.
    Then the report is written anew, with a section on them.

    Args:
        out: the folder of `run_study`, whose task was `blend`.
        context: as `activation_shares`.
        quantile, top: as `select_lape`.
        seeds: random sets for each method.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        table.csv: set, test, and `compare`'s columns.

    Raises:
        CulnigError: not a finished run, or one of another task; `out/methods` was made with other
            arguments; no neuron was found.
    """
    out = Path(out)
    check_count("context", context, least=1, unit="tokens")
    check_share("quantile", quantile)
    check_share("top", top)
    check_count("seeds", seeds, least=1, most=SETS_MOST)
    run, study = finished_study(out, trust_remote_code=trust_remote_code)
    folder = out / "methods"
    if study.task != "blend":
        raise CulnigError(
            f"{out} is a run of {study.task!r}, and the texts come from BLEnD's questions: make a "
            "run with --task blend"
        )
    texts = question_texts(load_questions(data=study.data.get("blend")))
    for kind, (_, held_out) in texts.items():
        few = [name for name, part in held_out.items() if not part]
        if few:
            raise CulnigError(
                f"{few[0]!r}, of the {kind}, has fewer than {HELD_OUT} questions: perplexity needs "
                f"every {HELD_OUT}th of them"
            )
    data = study_data(study)
    check_data(out, run, data)
    asked = [i for name, part in data.items() if name not in SCORED for i in part]
    (culture,) = run_sets(out, "general")
    arguments = {"context": context, "quantile": quantile, "top": top, "seeds": seeds}
    arguments |= {"texts": sha256_of(texts), "sets": set_hashes([culture])}
    note_arguments(folder / "methods.json", arguments)
    clear_half_written(folder, deep=True)
    model = load_study_model(study)
    shares = {
        name: _shares(model, folder, name, texts=texts[name][0], context=context) for name in texts
    }
    lape = select_lape(shares["languages"], quantile=quantile, top=top)
    cape = select_cape(shares["cultures"], lape, LANGUAGES, quantile=quantile, top=top)
    for neurons in (*lape.values(), *cape.values()):
        neurons.save(folder / "sets" / f"{neurons.name}.json")
    together = [culture]
    for name, sets in (("LAPE", lape), ("CAPE", cape)):
        together.append(reduce(or_, sets.values()).named(name))
        if not len(together[-1]):
            raise CulnigError(f"no {name} neuron: lower quantile, or raise top")
    for neurons in together:
        neurons.save(folder / "sets" / f"{neurons.name}.json")
    frames = {
        "sizes": pd.Series(
            {s.name: len(s) for s in (*together, *lape.values(), *cape.values())}, name="neurons"
        ).rename_axis("set"),
        "overlap": overlap(together),
    }
    for name, frame in frames.items():
        write_frame(frame.reset_index(), folder / f"{name}.csv")
    for name, sets in (("languages", lape), ("cultures", cape)):
        file = folder / f"perplexity-{name}.csv"
        if not agreed(file.exists()):
            _log.info("perplexity of %s, %d sets", name, len(sets))
            matrix = perplexity_increase(model, texts[name][1], sets, context=context)
            write_frame(matrix, file, index=True)
    evaluations = out / "evaluations"
    original = read_evaluation(evaluations / "original.csv")
    tables = {}
    for neurons in together:
        # The run has evaluated its own set, and perhaps the random ones of it.
        home = evaluations if neurons is culture else folder / "evaluations" / neurons.name
        random = [select_random(neurons, seed, matched=True) for seed in range(seeds)]
        masked, *controls = (
            evaluate_once(model, study, asked, neurons=one, file=home / f"{one.name}.csv")
            for one in (neurons, *random)
        )
        tables[neurons.name] = compare(original, masked, controls)
    table = pd.concat(tables, names=["set"])
    write_frame(table, folder / "table.csv", index=True)
    write_run_report(out)
    return table


def question_texts(
    questions: pd.DataFrame,
) -> dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """The questions by language and by culture: to count on, and, every tenth of them, held out."""
    found = {}
    for name, group, column in (
        ("languages", "language", "local"),
        ("cultures", "country", "english"),
    ):
        parts = {
            str(key): list(dict.fromkeys(rows[column]))
            for key, rows in questions.groupby(group, sort=False)
        }
        counted = {
            key: [t for i, t in enumerate(texts) if (i + 1) % HELD_OUT]
            for key, texts in parts.items()
        }
        held_out = {key: texts[HELD_OUT - 1 :: HELD_OUT] for key, texts in parts.items()}
        found[name] = (counted, held_out)
    return found


def _shares(
    model: HookedModel,
    folder: Path,
    name: str,
    *,
    texts: Mapping[str, Sequence[str]],
    context: int,
) -> ActivationShares:
    file = folder / f"{name}.safetensors"
    if not agreed(file.exists()):
        _log.info("activation shares of %s: %s", name, ", ".join(texts))
        checkpoint = file.with_suffix(".checkpoint")
        activation_shares(model, texts, context=context, checkpoint=checkpoint).save(file)
        remove_checkpoint(checkpoint)
        barrier()  # it is there
    return ActivationShares.load(file)
