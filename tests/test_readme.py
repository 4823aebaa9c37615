"""The numbers of the README and of `docs` are those of the files in `benchmarks/results`."""

import json
import re

import pandas as pd
import paper_models
import pytest
import readme_example
import tiny
from readme_tables import (
    RESULTS,
    ROOT,
    STORED,
    TABLES,
    confirmed_words,
    country_words,
    in_short,
    joint_ratio,
    notebook_minutes,
    notebook_seconds,
    nothing_words,
    own_words,
    paper_commands,
    second_words,
    speed,
    stable_words,
    top_found,
    wider_words,
    winners_words,
)
from typer.main import get_command

import culnig_tl
from culnig_tl.cli.main import app
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import (
    CORRELATION,
    DEVIATION,
    FEWEST_QUESTIONS,
    questions_for,
    smallest_loss,
)
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.plan import H100_FLOPS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "\n".join([README, *(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))])
TEXT = " ".join(PAGES.split())
# Rows of the speed table by their first words, with the ratios in the order of the columns.
BOTH = ("HookedTransformer-tl3.9.0", "TransformerBridge-tl4.3.0")
SPEED = {
    "attribution, 64 instances: time of the published procedure / ours": (
        "attribution",
        "time, as published / ours",
    ),
    "the same: ours / bare limit (": ("attribution", "time, ours / bare"),
    "evaluation, 64 instances: one full pass an option / ours": (
        "evaluation",
        "time, naive / ours",
    ),
    "attribution, 512 instances of BLEnD and their controls": (
        "attribution-blend",
        "time, as published / ours",
    ),
    "the same: ours / bare limit on the different rows": (
        "attribution-blend",
        "time, ours / bare",
    ),
    "evaluation, 512 instances of BLEnD": ("evaluation-blend", "time, naive / ours"),
}


def test_minutes_of_the_notebooks():
    rows = re.findall(r"^\| \[.\d?\]\(notebooks/(\w+)\.ipynb\) \| .* \| (\d) \| ", README, re.M)
    measured = {name: notebook_minutes(name) for name in notebook_seconds()}
    assert {name: int(minutes) for name, minutes in rows} == measured


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_rows_are_those_of_the_files(table):
    lines = PAGES.splitlines()
    lines += [line.strip() for line in lines]  # a table within a list
    assert [line for line in table() if line not in lines] == []


@pytest.mark.parametrize("row", SPEED)
def test_ratios_of_speed(row):
    benchmark, target = SPEED[row]
    (line,) = [line for line in PAGES.splitlines() if line.startswith(f"| {row}")]
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    for cell, of in zip(cells, BOTH, strict=True):
        if cell:
            found = speed(f"{benchmark}-{of}.json")
            (ratio,) = [value for name, value in found.items() if name.startswith(target)]
            assert cell == f"{ratio:.{2 if 'bare' in target else 1}f}"


def test_the_gradient_in_short():
    assert [sentence for sentence in in_short() if sentence not in TEXT] == []
    assert second_words() in TEXT
    assert joint_ratio() in TEXT
    assert top_found() in TEXT


def test_the_door_is_short():
    assert len(README.splitlines()) <= 120


def test_the_example_shows_what_it_gave():
    found = json.loads((RESULTS / "readme-example.json").read_text())
    code, shown = readme_example.example()
    assert (code, shown) == (found["code"], found["shows"])


@pytest.mark.model
def test_the_example_runs(monkeypatch, tmp_path):
    """As it stands there, with a tiny model in place of the real one."""
    real, model = culnig_tl.load_task, culnig_tl.load_model(str(tiny.byte_model(tmp_path)))
    monkeypatch.setattr(culnig_tl, "load_model", lambda name: model)
    few = lambda *task, limit: real(*task, limit=min(limit, 8))  # noqa: E731
    monkeypatch.setattr(culnig_tl, "load_task", few)
    table = readme_example.last_value(readme_example.example()[0])
    assert list(table.columns) == ["questions", "chance", "original", "masked", "random"]


def test_every_notebook_is_named():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"](notebooks/{path.name})" in README


def test_three_findings():
    row = pd.read_csv(STORED / "study" / "table.csv").set_index("task").loc["blend"]
    assert f"cultural test {-row['difference']:.1f} points beyond random ones" in TEXT
    assert row["significant"]


def test_simulated_evidence():
    found = json.loads((RESULTS / "evidence.json").read_text())
    for row in found["null"]:
        if row["resampled"] == "questions":
            # 5% within what 200 studies say of it.
            assert row["rejected"] <= 0.05 + 1.96 * (0.05 * 0.95 / row["studies"]) ** 0.5
    assert found["deviation"]["deviation"] == pytest.approx(DEVIATION, abs=0.005)
    power = found["power"]
    assert f"it was found in {100 * power['found']:.0f}% of them" in TEXT
    needed = questions_for(0.05)
    assert f"takes {needed:,} questions of one country each, or" in TEXT
    assert f"or {questions_for(0.05, each=8.0)} of eight countries each" in TEXT
    assert found["deviation"]["correlation"] == pytest.approx(CORRELATION, abs=0.005)
    assert f"Below {FEWEST_QUESTIONS} questions nothing is called significant" in TEXT


def test_size_of_the_set():
    neurons = NeuronSet.load(STORED / "study" / "culture-general.json")
    (stated,) = re.findall(r"the (\d+) culture-general neurons are ([\d.]+)% of all", TEXT)
    assert stated == (str(len(neurons)), f"{100 * len(neurons) / neurons.layout.total:.2f}")


def test_how_stable_the_sets_are():
    assert [words for words in stable_words() if words not in TEXT] == []


def test_what_selects():
    assert confirmed_words() in TEXT
    assert winners_words() in TEXT
    assert wider_words() in TEXT
    assert nothing_words() in TEXT
    assert country_words() in TEXT
    about = json.loads((RESULTS / "selection" / "about.json").read_text())
    assert set(about["confirmed"]) == set(about["neurons"])
    assert len(about["neurons"]) >= 6
    assert f"mean of {about['random_sets']} matched random sets" in TEXT.replace("ten", "10")
    rows = pd.read_csv(RESULTS / "selection" / "table.csv")
    counts = rows[rows["test"] == "blend"].groupby("half")["questions"].min()
    assert (counts[["choose", "confirm"]] >= 400).all()


def test_own_examples():
    assert [words for words in own_words() if words not in TEXT] == []
    loss = 100 * smallest_loss(39, tests=4, each=63 / 39)
    assert f"would have shown a loss of {loss:.0f} points" in TEXT


def test_on_a_gpu():
    found = json.loads((RESULTS / "attribution-gemma-3-12b-it.json").read_text())
    minutes = found["minutes for the paper's 26,202 instances"]
    assert (
        f"scores {found['instances a second']:.0f} instances a second of "
        f"{found['tokens an instance']:.0f} tokens, {found['TFLOP/s']:.0f} TFLOP/s or "
        f"{100 * found['share of peak']:.0f}% of the peak: the paper's 26,202 instances in "
        f"{minutes:.0f} minutes"
    ) in TEXT
    assert pytest.approx(found["TFLOP/s"] * 1e12, rel=0.01) == H100_FLOPS
    parity = json.loads((RESULTS / "parity-gemma-3-12b-it.json").read_text())
    for estimate in ESTIMATES:
        assert parity[f"CPU and cuda, float32, {estimate}"]["distance"] < 2e-6
        assert round(parity[f"float32 and bfloat16, {estimate}"]["top_overlap"], 2) == 0.99


def test_the_papers_models():
    found = json.loads((RESULTS / "paper-models.json").read_text())
    assert found["FLOP/s of an H100"] == H100_FLOPS
    options, demo = paper_models.studies(None)["demo"]
    again = {"options": options, **paper_models.costs(demo)}
    assert json.loads(json.dumps(again)) == found["studies"]["demo"]
    options = found["studies"]["paper"]["options"]
    assert f"`{options}`" in TEXT


@pytest.mark.parametrize("line", paper_commands())
def test_commands_for_the_papers_models(line):
    name, *arguments = line.removeprefix("culnig ").split()
    context = get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
    assert context.params["model"] in PAPER_MODELS
    assert context.params["dtype"] == "bfloat16"


def test_the_demo():
    found = json.loads((RESULTS / "demo.json").read_text())
    own, *others = found["table"]
    assert (
        f"with {found['neurons']} neurons masked the bundled cultural questions fall from "
        f"{own['original']:.1f} to {own['masked']:.1f}% (random neurons: {own['random']:.1f})"
    ) in TEXT
    assert own["significant"]
    assert not any(row["significant"] for row in others)
    assert len(others) == 3
    assert found["shares of the time"]["report"] < 0.01
    share = {name: f"{100 * value:.0f}%" for name, value in found["shares of the time"].items()}
    for sentence in (
        f"The demo spends {share['evaluation']} of its time in evaluations, "
        f"{share['unembedding in evaluations']} in their unembedding",
        f"and {share['attribution']} in attribution; loading the model takes "
        f"{share['loading the model']}, the report under 1%.",
        f"Matrix products are {share['matrix products forward']}, backward passes "
        f"{share['backward passes']}",
    ):
        assert sentence in TEXT
