"""A finished run whose files were damaged or edited: one line each, and nothing is shown that a
file could have put there."""

import csv
import json
import re
import shutil
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tiny
from command import culnig

from culnig_tl.analysis.drawing import plain
from culnig_tl.analysis.plots import plot_distribution, plot_groups, plot_layers, plot_matrix
from culnig_tl.errors import CulnigError
from culnig_tl.measure.token_view import _closed
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.schemas import read_object
from culnig_tl.study import report
from culnig_tl.study.arguments import Study
from culnig_tl.study.finetune import finetune_run, read_curves
from culnig_tl.study.folder import study_of
from culnig_tl.study.lm_eval import _SCHEMA, _table
from culnig_tl.study.precision import precision_run
from culnig_tl.study.run import Run
from culnig_tl.study.running import run_study
from culnig_tl.tensors import read_tensors, write_tensors

GOLDEN = Path(__file__).parents[1] / "golden"
LAYOUT = NeuronLayout(n_layers=2, gate=3, q=2, k=1, v=1)
EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a section of every kind; those of the steps are of another, made before."""
    folder = tmp_path_factory.mktemp("finished")
    out = folder / "run"
    run_study(tiny.study(folder / "tiny"), out)
    for name in ("verify", "methods", "finetune"):
        shutil.copytree(GOLDEN / name, out / name)
    (out / "verify" / "tokens.html").write_text(f"<p>{EVIL}</p>")
    neurons = Run.open(out).neurons
    for name in ("culture-general", "LAPE", "CAPE"):
        NeuronSet(neurons.layout, neurons.ids, name).save(out / "methods" / "sets" / f"{name}.json")
    for place in (out / "finetune" / "paraphrase").glob("*-0.01-0"):
        (place / "finetune.json").write_text('{"learning_rate": 0.01, "seed": 0}')
    return out


@pytest.fixture
def out(finished, tmp_path, monkeypatch):
    """A copy of it, whose figures are made but not drawn."""
    monkeypatch.setattr(report, "_saved", lambda figures, folder: dict.fromkeys(figures, ""))
    yield Path(shutil.copytree(finished, tmp_path / "run"))
    plt.close("all")


def write(out):
    Run.open(out).write_report()


def edit_json(path, keys, value):
    content = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part[key]
    if value is KeyError:
        del part[keys[-1]]
    else:
        part[keys[-1]] = value
    path.write_text(json.dumps(content))


def edit_csv(path, row, column, value):
    """A cell; row 0 is the header, and None for `value` leaves the column out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    place = rows[0].index(column)
    if value is None:
        rows = [one[:place] + one[place + 1 :] for one in rows]
    else:
        rows[row][place] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


ARGUMENTS = [
    ("top_mlp", "0.1", "top_mlp is '0.1': give a number"),
    ("top_mlp", 2, "top_mlp is 2: give a share between 0 and 1"),
    ("factor", float("nan"), "'arguments.factor' is nan|factor is nan: give a finite number"),
    ("factor", None, "factor is None: give a number"),
    ("seeds", -1, "seeds is -1: give 0 or more"),
    ("control", "yes", "control is 'yes': give true or false"),
    ("tests", "qnli", "tests is 'qnli': give a list of names"),
    ("tests", [["qnli"]], "unknown task ['qnli']: choose from everyday"),
    ("groups", ["Atlantis"], "unknown country 'Atlantis': choose from"),
    ("groups", [3], "a country is 3: give a text"),
    ("data", [], "data is []: give a path for each task by name"),
    ("data", {"everyday": 3}, "the data of 'everyday' is 3: give a text"),
    ("model", None, "model is None: give a text"),
    ("dtype", "int8", "unknown dtype 'int8': choose from float32"),
    ("variant", [], "unknown score variant []: choose from max, mean, norm"),
    ("token_budget", -1, "token_budget is -1: give 1 or more"),
    ("later", 1, "has an argument 'later', which this version does not know: use the version that"),
]


@pytest.mark.parametrize(("key", "value", "line"), ARGUMENTS, ids=lambda part: str(part)[:20])
def test_edited_arguments(tmp_path, key, value, line):
    """In run.json; the same fields of a `Study` are checked by the same function."""
    (tmp_path / "run.json").write_text(json.dumps({"arguments": {"task": "everyday", key: value}}))
    with pytest.raises(CulnigError, match="|".join(map(re.escape, line.split("|")))) as caught:
        study_of(tmp_path)
    assert "run.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_earlier_run_has_the_defaults(tmp_path):
    (tmp_path / "run.json").write_text('{"arguments": {"factor": 2, "groups": ["US"]}}')
    study = study_of(tmp_path)
    assert (study.factor, study.groups, study.top) == (2.0, ("US",), Study().top)


DAMAGE = [
    ("run.json", [], "it is [], expected an object"),
    ("run.json", None, "it is None, expected an object"),
    ("run.json", ("datasets",), "'datasets' is missing"),
    ("run.json", ("datasets", "neuron", "x"), "'datasets.neuron' is 'x', expected an object"),
    ("run.json", ("model", []), "'model' is [], expected an object"),
    ("run.json", ("model", "name"), "'model.name' is missing"),
    ("run.json", ("arguments", None), "'arguments' is None, expected an object"),
    ("sets/culture-general.json", ("provenance",), "'provenance' is missing"),
    ("sets/culture-general.json", ("layout", "gate", "3"), "'layout.gate' is '3', expected a who"),
    ("sets/culture-general.json", ("layout", "gate", 1), "neuron 1: no neuron (0, 'gate'"),
    ("sets/culture-general.json", ("neurons", 0, 1), "'neurons[0]' is 1, expected a list"),
    ("sets/culture-general.json", ("neurons", 0, [0, "q", 1.5]), "neuron 1 is [0, 'q', 1.5], exp"),
    ("sets/culture-general.json", ("neurons", 0, [0, "o", 1]), "neuron 1: no neuron (0, 'o', 1)"),
    ("sets/culture-general.json", ("name", "../../evil"), "its set is named '../../evil', expected"),
    ("evaluations/original.csv", ("correct", None), "no column 'correct', its first line is 'id,"),
    ("evaluations/original.csv", ("correct", "maybe"), "row 1, column 'correct' has 'maybe', expe"),
    ("evaluations/original.csv", ("probability", "x"), "row 1, column 'probability' has 'x', exp"),
    ("evaluations/original.csv", ("probability", "nan"), "has 'nan', expected a number from 0 to 1"),
    ("evaluations/original.csv", ("task", "qnli"), "3 rows of everyday, expected 4"),
    ("evaluations/random-0.csv", ("id", "x"), "asks ('everyday', 'x', "),
    ("evaluations/random-0.csv", ("group", "X"), "expected the 6 questions of original.csv in th"),
    ("verify/effects.csv", ("exact", "x"), "row 1, column 'exact' has 'x', expected a number"),
    ("verify/effects.csv", ("site", "o"), "column 'site' has 'o', expected one of gate, q, k, v"),
    ("verify/interactions.csv", ("set", None), "no column 'set'"),
    ("verify/doses.csv", ("accuracy", ""), "column 'accuracy' has '', expected a number from 0 to"),
    ("verify/pairs.csv", ("before", "-"), "column 'before' has '-', expected a number"),
    ("methods/table.csv", ("significant", "yes"), "has 'yes', expected True or False"),
    ("methods/overlap.csv", ("LAPE", "1.5"), "column 'LAPE' has '1.5', expected a whole number"),
    ("methods/overlap.csv", ("set", "../../evil"), "the set '../../evil' cannot be a file's name"),
    ("methods/perplexity-cultures.csv", ("Iran", "x"), "has 'x', expected a number or nothing"),
    ("methods/sets/LAPE.json", ("layout", {}), "'layout.n_layers' is missing"),
    ("finetune/paraphrase/curves.csv", ("accuracy", "101"), "expected a number from 0 to 100"),
    ("finetune/paraphrase/curves.csv", ("which", "best"), "expected one of top, bottom, random, a"),
    ("finetune/paraphrase/table.csv", ("seeds", "x"), "column 'seeds' has 'x', expected a whole"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "line"), DAMAGE, ids=lambda part: str(part)[:30])
def test_a_damaged_file(out, name, change, line):
    path = out / name
    if not change:
        path.write_text(json.dumps(change))
    elif path.suffix == ".csv":
        edit_csv(path, 1, *change)
    elif len(change) == 1 or change == ("model", "name"):
        edit_json(path, change, KeyError)
    else:
        edit_json(path, change[:-1], change[-1])
    with pytest.raises(CulnigError, match=re.escape(line)) as caught:
        Run.open(out).write_report()
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b'id,task\n"a', b"[1"], ids=repr)
def test_files_that_are_nothing(out, content):
    """Each file that is read, in turn; what was read as before is not in the way."""
    reads = {
        "run.json": write,
        "scores/neuron.safetensors": lambda o: Run.open(o).scores(),
        "sets/random-0.json": write,
        "evaluations/culture-general.csv": write,
        "verify/doses.csv": write,
        "methods/sizes.csv": write,
        "finetune/paraphrase/top-0.01-0/scores.csv": lambda o: read_curves(o / "finetune/paraphrase"),
        "finetune/paraphrase/top-0.01-0/finetune.json": lambda o: read_curves(
            o / "finetune/paraphrase"
        ),
    }  # fmt: skip
    for name, read in reads.items():
        before = (out / name).read_bytes()
        (out / name).write_bytes(content)
        with pytest.raises(CulnigError, match=re.escape(name.split("/")[-1])) as caught:
            read(out)
        assert "\n" not in str(caught.value)
        (out / name).write_bytes(before)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"groups": ["a", "a"]}, "group axis is"),
        ({"groups": []}, "its group axis is []: every name once"),
        ({"instances": [0]}, "'instances[0]'|instances of"),
        ({"layout": {"n_layers": 1}}, "'layout.gate' is missing"),
        ({"provenance": {"model": {}}}, "'provenance.model.name' is missing"),
        ({"targets": "log"}, "'targets' is 'log', expected a list"),
        ({"sums": np.nan}, "scores of target"),
        ({"sums": None}, "it holds no sums"),
        ({"format": 3}, "holds 3, expected 'culnig_tl scores, version 4'"),
    ],
    ids=str,
)
def test_damaged_scores(out, change, line):
    path = out / "scores" / "neuron.safetensors"
    tensors, about = read_tensors(path, "culnig_tl scores, version 4")
    if "sums" in change:
        sums = tensors.pop("sums").copy()
        sums[0, 0, 0, 3] = np.nan
        tensors |= {"other": sums} if change["sums"] is None else {"sums": sums}
        change = {}
    write_tensors(path, tensors, about | change)
    with pytest.raises(CulnigError, match="|".join(map(re.escape, line.split("|")))):
        Run.open(out).write_report()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("evaluations/random-0.csv", "evaluation of 'random-0'"),
        ("evaluations/original.csv", "evaluation of 'original'"),
        ("sets/random-0.json", "set 'random-0'"),
        ("sets/culture-general.json", "set 'culture-general'"),
    ],
)
def test_what_was_deleted_is_made_again(out, name, what):
    """As the line on a damaged file says: delete it, and run again."""
    before = (out / name).read_bytes()
    (out / name).unlink()
    with pytest.raises(CulnigError, match=f"holds no {what}: finish it with culnig run --out"):
        Run.open(out).write_report()
    run_study(study_of(out), out)
    assert (out / name).read_bytes() == before


def test_the_command_says_it_in_one_line(out, monkeypatch, capsys):
    edit_csv(out / "evaluations" / "original.csv", 1, "correct", "maybe")
    code, _, error = culnig(monkeypatch, capsys, "report", "--run", out)
    assert code == 1
    assert "Traceback" not in error
    assert "column 'correct' has 'maybe', expected True or False" in " ".join(error.split())


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        pytest.param(
            lambda out: precision_run(out, dtypes=["../../evil"]),
            "unknown dtype '../../evil': choose from float32",
            id="a dtype",
        ),
        pytest.param(
            lambda out: finetune_run(out, "../../evil"),
            "unknown task '../../evil': choose from everyday",
            id="a task",
        ),
    ],
)
def test_names_that_would_be_files_elsewhere(finished, ask, line):
    with pytest.raises(CulnigError, match=line):
        ask(finished)


LEFT = {"results": {"t": {"acc,none": 0.5}}, "n-samples": {"t": {"effective": 4}}}


def harness_table(folder, **changed):
    """Of the files that lm-eval left of three sets, some of them changed."""
    contents = dict.fromkeys(("original", "culture-general", "random-0"), LEFT) | changed
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return _table({name: read_object(folder / f"{name}.json", _SCHEMA) for name in contents})


def test_what_the_harness_left(tmp_path):
    assert harness_table(tmp_path).loc[("t", "acc"), "items"] == 4


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("original", {}, "'results' is missing"),
        ("original", LEFT | {"results": {}}, "lm-eval gave no metric: delete that task's folder"),
        ("random-0", LEFT | {"results": {"t": []}}, "'results.t' is [], expected an object"),
        (
            "random-0",
            LEFT | {"results": {"t": {}}},
            "lm-eval gave no 'acc,none' of 't' with 'random-0'",
        ),
        ("original", LEFT | {"n-samples": {"t": 4}}, "'n-samples.t' is 4, expected an object"),
    ],
    ids=["nothing", "no metric", "no object", "a metric less", "no count"],
)
def test_what_the_harness_left_is_damaged(tmp_path, name, content, line):
    with pytest.raises(CulnigError, match=re.escape(line)):
        harness_table(tmp_path, **{name: content})


def test_nothing_of_a_file_is_markup_in_the_report(out):
    """A country, an answer, a model's name, and the page of tokens."""
    for name in ("original", "culture-general", "random-0"):
        path = out / "evaluations" / f"{name}.csv"
        frame = pd.read_csv(path, keep_default_na=False)
        frame.loc[frame["task"] == "everyday", "group"] = EVIL + "$\\frac$"
        frame["answer"], frame["predicted"] = EVIL, EVIL + name
        frame.to_csv(path, index=False)
    edit_json(out / "run.json", ("arguments", "revision"), EVIL)
    Run.open(out).write_report()
    page = (out / "report.html").read_text()
    # The page's own script, and that of no file.
    assert page.count("<script") == page.count("<script>\n(() =>") == 1
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 4
    assert re.search(r'<iframe title="tokens" sandbox="allow-scripts" srcdoc="[^<>"]*">', page)


def test_a_notebook_shows_names_as_they_are():
    neurons = NeuronSet(LAYOUT, np.array([1]), EVIL)
    assert "<img" not in neurons._repr_html_()
    assert "&lt;/script&gt;" in neurons._repr_html_()


def test_a_token_does_not_end_the_script():
    data = json.dumps({"tokens": ["</script><script>", "<!--", 'circuits-vis-1"']})
    page = (
        '<div id="circuits-vis-0" style="margin: 15px 0;"/>\n<script>a<b;\nrender("circuits-vis-0"'
    )
    closed = _closed(f"{page},\n{data})\n    </script>")
    assert closed.count("</script>") == 1
    assert closed.endswith("</script>")
    assert "a<b" in closed
    found = re.search(r"\{.*\}", closed)
    assert found is not None
    assert json.loads(found[0]) == json.loads(data)


TEXTS = ("$\\frac$", "$x$ $", "_private", "a_b^c", "a\nb", "\\", 1000 * "long ", "\x00", "日本 🎌")


TEXTS_BY_COUNTRY = pd.DataFrame(
    dict.fromkeys(("items", "original", "masked", "random"), 1.0),
    index=pd.MultiIndex.from_product([["t_1$"], TEXTS], names=["task", "group"]),
)
SETS_OF_TEXTS = [NeuronSet(LAYOUT, np.array([1]), text) for text in TEXTS]


@pytest.mark.parametrize(
    "plot",
    [
        lambda: plot_groups(TEXTS_BY_COUNTRY, "t_1$"),
        lambda: plot_layers(SETS_OF_TEXTS),
        lambda: plot_matrix(pd.DataFrame(np.eye(9), TEXTS, TEXTS), "x", "y"),
        lambda: plot_distribution(SETS_OF_TEXTS[0]),
    ],
    ids=["groups", "layers", "matrix", "set"],
)
def test_any_text_can_be_drawn(tmp_path, plot):
    figures = {"figure": plot()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report._saved(figures, tmp_path)
    assert not plt.get_fignums()


def test_each_set_has_its_picture():
    figure = plot_layers(SETS_OF_TEXTS).get_figure()
    assert figure is not None
    assert len(figure.axes) == len(TEXTS)
    plt.close("all")


def test_a_country_is_no_formula():
    figure = plot_groups(TEXTS_BY_COUNTRY, "t_1$")
    assert figure.get_yticklabels()[0].get_text() == r"\$\frac\$ (1)"
    plt.close("all")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("$a$", r"\$a\$"), ("_x", " _x"), ("a\n b\t", "a b"), (50 * "x", 39 * "x" + "…"), (3, "3")],
)
def test_plain(text, shown):
    assert plain(text) == shown
