"""The rival methods on a small run: the command, its files, the report's section."""

import io
import shutil
from contextlib import contextmanager, redirect_stdout

import datasets
import pandas as pd
import pytest
import tiny
from benchmark_rows import blend_row
from blend_files import blend_folder
from command import SMALL_RUN, Captured, culnig
from short_question_files import folder as short_answers_folder

from culnig_tl import CulnigError
from culnig_tl.study.compare_methods import question_texts
from culnig_tl.tasks.blend import LANGUAGES, load_questions

# "What do people drink, number N?", in some of the languages; the others ask in English.
LOCAL = {"zh": "人们喝什么，第{}？", "fa": "مردم چه می‌نوشند، {}؟", "es": "¿Qué bebe la gente, {}?"}


def questions_folder(tmp_path):
    """BLEnD's folder: twelve questions a country, and five rows of multiple choice for two."""
    rows = [blend_row(i, "Al-1", country) for country in ("Iran", "Spain") for i in range(5)]
    rows += [blend_row(i, "Al-3", country) for country in ("Iran", "Spain") for i in range(5)]
    folder = blend_folder(tmp_path, rows)
    topics = dict(pd.read_csv(folder / "questions" / "US_questions.csv")[["ID", "Topic"]].values)
    for country, language in LANGUAGES.items():
        name = "US" if country == "USA" else country.replace(" ", "_")
        local = LOCAL.get(language, "What do people drink in " + country + ", number {}?")
        pd.DataFrame(
            [
                {
                    "ID": f"Al-{n}",
                    "Topic": topics.get(f"Al-{n}", "Food"),
                    "Question": local.format(n),
                    "Translation": f"What do people drink in {country}, number {n}?",
                }
                for n in range(1, 13)
            ]
        ).to_csv(folder / "questions" / f"{name}_questions.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return load_questions(data=questions_folder(tmp_path_factory.mktemp("questions")))


def test_questions_are_read_in_their_language(questions):
    assert len(questions) == 16 * 12
    row = questions[questions["country"] == "Iran"].iloc[2]
    assert (row["language"], row["id"], row["local"]) == ("fa", "Al-3", "مردم چه می‌نوشند، 3؟")


def test_questions_by_language(questions):
    counted, held_out = question_texts(questions)["languages"]
    assert set(counted) == set(LANGUAGES.values())
    assert len(set(counted)) == 13
    assert held_out["fa"] == ["مردم چه می‌نوشند، 10؟"]
    assert len(counted["fa"]) == 11
    assert not set(held_out["fa"]) & set(counted["fa"])
    assert held_out["en"] == [
        "What do people drink in UK, number 10?",
        "What do people drink in USA, number 8?",
    ]


def test_a_question_that_two_countries_ask_alike_counts_once(questions):
    """Mexico and Spain ask the same here."""
    counted, held_out = question_texts(questions)["languages"]
    assert len(counted["es"]) == 11
    assert held_out["es"] == held_out["es"][:1]


def test_questions_by_culture(questions):
    _, held_out = question_texts(questions)["cultures"]
    assert held_out["Mexico"] == ["What do people drink in Mexico, number 10?"]


def test_a_country_without_its_file_of_questions(tmp_path):
    folder = questions_folder(tmp_path)
    (folder / "questions" / "Spain_questions.csv").unlink()
    with pytest.raises(CulnigError, match="no file .*Spain_questions.csv: check the path"):
        load_questions(data=folder)


def test_real_questions(shared):
    questions = load_questions(data=shared / "data" / "blend")
    assert len(questions) == 16 * 500 - 1  # one is empty in China's language
    assert questions["language"].nunique() == 13


def test_questions_from_the_hub_are_as_from_a_folder(monkeypatch, tmp_path):
    folder = questions_folder(tmp_path)
    names = "Algeria Assam Azerbaijan China Ethiopia Greece Indonesia Iran Mexico North_Korea Northern_Nigeria South_Korea Spain UK US West_Java"
    codes = "DZ AS AZ CN ET GR ID IR MX KP NG KR ES GB US JB"
    files = dict(zip(codes.split(), names.split(), strict=True))

    def load_dataset(name, config=None, *, split):
        assert (name, config) == ("nayeon212/BLEnD", "short-answer-questions")
        rows = pd.read_csv(folder / "questions" / f"{files[split]}_questions.csv")
        return datasets.Dataset.from_pandas(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_questions().equals(load_questions(data=folder))


@contextmanager
def three_countries():
    """BLEnD as if it asked in no others: a set each, and fewer are as good."""
    with pytest.MonkeyPatch.context() as patch:
        for country in set(LANGUAGES) - {"Iran", "Spain", "UK"}:
            patch.delitem(LANGUAGES, country)
        yield patch


@pytest.fixture
def few():
    with three_countries():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small finished run on BLEnD's multiple choice about two countries."""
    home = tmp_path_factory.mktemp("run")
    with three_countries() as patch:
        out, folder = home / "run", questions_folder(home / "blend")
        small = [*SMALL_RUN, "--task", "blend", "--data", folder, "--countries", "Iran,Spain"]
        small += ["--model", tiny.byte_model(home / "tiny")]
        code, _, _ = culnig(patch, Captured(), "run", "--out", out, *small)
    assert code == 0
    return out


@pytest.fixture(scope="module")
def compared(run):
    """The run with the rival methods' neurons, and what was printed."""
    with three_countries() as patch, redirect_stdout(io.StringIO()) as said:
        code, _, _ = culnig(patch, Captured(), *comparing(run))
    assert code == 0
    return run, said.getvalue()


def comparing(out, *arguments):
    return ["compare-methods", "--run", out, "--top", 0.1, "--quantile", 0.8, *arguments]


def test_each_method_is_masked_on_each_task(compared):
    out, printed = compared
    assert "masked: LAPE neurons" in printed
    table = pd.read_csv(out / "methods" / "table.csv")
    assert list(table["set"].unique()) == ["culture-general", "LAPE", "CAPE"]
    assert set(table["task"]) == {"blend", "paraphrase"}


def test_the_methods_neurons_are_counted(compared):
    overlap = pd.read_csv(compared[0] / "methods" / "overlap.csv", index_col=0)
    assert 0 < overlap.loc["LAPE", "LAPE"] <= 14  # 10% of 144


def test_perplexity_is_measured_in_every_language(compared):
    languages = pd.read_csv(compared[0] / "methods" / "perplexity-languages.csv", index_col=0)
    assert list(languages.columns) == ["fa", "es", "en"]
    assert languages.notna().all(axis=None)


def test_the_report_has_the_methods(compared):
    html = (compared[0] / "report.html").read_text()
    assert "Other ways to find such neurons" in html


@pytest.mark.usefixtures("few")
def test_methods_that_are_there_are_printed_again(monkeypatch, capsys, compared):
    out, printed = compared
    code, again, _ = culnig(monkeypatch, capsys, *comparing(out))
    assert (code, again) == (0, printed)


@pytest.mark.usefixtures("few")
def test_other_shares_than_the_methods_there(monkeypatch, capsys, compared):
    code, _, error = culnig(monkeypatch, capsys, *comparing(compared[0], "--top", 0.2))
    assert code == 1
    assert "was made with top = 0.1, this asks for 0.2" in " ".join(error.split())


@pytest.mark.usefixtures("few")
def test_a_quantile_that_leaves_no_neuron(monkeypatch, capsys, tmp_path, compared):
    out = shutil.copytree(compared[0], tmp_path / "run")
    (out / "methods" / "methods.json").unlink()
    code, _, error = culnig(monkeypatch, capsys, *comparing(out, "--quantile", 1))
    assert code == 1
    assert "no LAPE neuron: lower quantile, or raise top" in " ".join(error.split())


def short(out, *arguments):
    return [
        "short-answers",
        "--run",
        out,
        "--countries",
        "Spain",
        "--max-new-tokens",
        3,
        *arguments,
    ]


@pytest.mark.usefixtures("few")
def test_short_answers_without_their_files(monkeypatch, capsys, run):
    code, _, error = culnig(monkeypatch, capsys, *short(run))
    assert code == 1
    assert "Spain_data.json: check the path given as data" in " ".join(error.split())


@pytest.mark.usefixtures("few")
def test_short_answers_of_a_run(monkeypatch, capsys, tmp_path, run):
    folder = short_answers_folder(tmp_path / "short")
    code, printed, error = culnig(monkeypatch, capsys, *short(run, "--data", folder))
    assert code == 0, error
    assert "Spain, es" in printed
    replies = pd.read_csv(run / "short-answers" / "original.csv")
    assert list(replies["id"]) == ["A-1/Spain"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "holds no finished run: finish it", id="no run"),
        pytest.param(["--seeds", 0], "seeds is 0: give 1 or more", id="no random set"),
    ],
)
def test_what_cannot_be_compared(monkeypatch, capsys, tmp_path, arguments, words):
    command = ["compare-methods", "--run", tmp_path, *arguments]
    code, _, error = culnig(monkeypatch, capsys, *command)
    assert code == 1
    assert words in error
