"""The highest neurons of a run, in its report: for whom they score, and what they write."""

import pandas as pd
import pytest
import tiny

from culnig_tl.errors import CulnigError
from culnig_tl.measure.writes import written_tokens
from culnig_tl.study.report import write_report
from culnig_tl.study.running import run_study
from culnig_tl.study.top_neurons import FILE, TOKENS, noted_writes, top_neurons


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("top")
    return run_study(tiny.study(folder / "tiny", test_limit=8, other_limit=4), folder / "run")


def test_what_is_noted_is_what_they_write(run):
    noted = noted_writes(run.folder)
    scores, study = run.scores(), run.study
    top = top_neurons(run.neurons, scores, variant=study.variant, target=study.target)
    assert set(noted) == set(zip(top["layer"], top["site"], top["index"], strict=True))
    written = written_tokens(run.load_model(), run.neurons, k=TOKENS)
    raised = written[written["side"] == 1].groupby(["layer", "site", "index"])["token"]
    for key, text in noted.items():
        tokens = [] if key[1] in "qk" else raised.get_group(key)
        assert text == ", ".join(token.strip() or repr(token) for token in tokens)


def test_the_groups_are_those_with_the_highest_scores(run):
    scores, study = run.scores(), run.study
    top = top_neurons(run.neurons, scores, variant=study.variant, target=study.target)
    first = top.iloc[0]
    neuron = run.neurons.ids[top.index[0]]
    by_group = {
        group: scores.mean(groups=[group], variant=study.variant, target=study.target)[neuron]
        for group in scores.groups
    }
    assert first["groups"].split(", ") == sorted(by_group, key=by_group.__getitem__)[:-3:-1]
    assert top["score"].is_monotonic_decreasing


def test_the_report_has_both_and_escapes(run):
    frame = pd.read_csv(run.folder / FILE, keep_default_na=False)
    frame.loc[0, "raised"] = "<script>"
    frame.to_csv(run.folder / FILE, index=False)
    page = write_report(run).read_text(encoding="utf-8")
    assert "what it writes makes likelier" in page
    assert "<td>&lt;script&gt;</td>" in page
    (run.folder / FILE).unlink()  # as runs of earlier versions
    page = write_report(run).read_text(encoding="utf-8")
    assert "what it writes" not in page
    assert "most for" in page


def test_a_damaged_file_is_one_line(run):
    (run.folder / FILE).write_text("layer,site,index,raised\n0,mlp,1,tea\n")
    with pytest.raises(CulnigError, match=r"writes\.csv.*row 1.*gate"):
        noted_writes(run.folder)
