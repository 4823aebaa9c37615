"""The neurons of a run's set with the highest scores: for whom they score, and what they write."""

from pathlib import Path

import pandas as pd

from culnig_tl.frames import COUNT, TEXT, Frame, one_of, read_frame, write_frame
from culnig_tl.models.choices import HookedModel
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.scores import Scores, Target, Variant
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.arguments import Study
from culnig_tl.study.once import once

FILE = "writes.csv"
HIGHEST, TOKENS, GROUPS = 20, 6, 2
_WRITES = Frame({"layer": COUNT, "site": one_of(SITES), "index": COUNT, "raised": TEXT})


def top_neurons(
    neurons: NeuronSet, scores: Scores, *, variant: Variant, target: Target | None
) -> pd.DataFrame:
    """The highest of a set: layer, site, index, score, and groups (for which it scores most)."""
    mean = scores.mean(variant=variant, target=target)[neurons.ids]
    top = neurons.frame().assign(score=mean, id=neurons.ids).nlargest(HIGHEST, "score")
    by_group = pd.DataFrame(
        {
            group: scores.mean(groups=[group], variant=variant, target=target)[top["id"]]
            for group in scores.groups
        },
        index=top.index,
    )
    several = len(scores.groups) > GROUPS
    rows = (row for _, row in by_group.iterrows())
    names = [", ".join(row.nlargest(GROUPS).index) if several else "" for row in rows]
    return top.assign(groups=names).drop(columns="id")


def note_writes(
    out: Path, model: HookedModel, neurons: NeuronSet, *, scores: Scores, study: Study
) -> None:
    """Note what the highest of the set write, while the model is there, if it is not noted yet."""

    def make() -> None:
        from culnig_tl.measure.writes import written_tokens

        top = top_neurons(neurons, scores, variant=study.variant, target=study.target)
        chosen = NeuronSet(neurons.layout, neurons.ids[top.index], neurons.name)
        found = written_tokens(model, chosen, k=TOKENS)
        raised = found[found["side"] == 1].groupby(["layer", "site", "index"])["token"]
        texts = {key: ", ".join(t.strip() or repr(t) for t in tokens) for key, tokens in raised}
        rows = [{**one._asdict(), "raised": texts.get(tuple(one), "")} for one in chosen]
        write_frame(pd.DataFrame(rows), out / FILE)

    once(out / FILE, make)


def noted_writes(out: Path) -> dict[tuple[int, str, int], str]:
    """What each of them raises, as text ("" of q and k); nothing of runs of earlier versions.

    Raises:
        CulnigError: the file is damaged.
    """
    if not (out / FILE).exists():
        return {}
    return {tuple(row): raised for *row, raised in read_frame(out / FILE, _WRITES).to_numpy()}
