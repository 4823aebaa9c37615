"""The rival methods on a small run: the command, its files, the report's section."""

import datasets
import pandas as pd
import pytest
import tiny
from benchmark_rows import blend_row
from blend_files import blend_folder
from command import SMALL_RUN, culnig
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


def test_questions_by_language_and_culture(tmp_path):
    questions = load_questions(data=questions_folder(tmp_path))
    assert len(questions) == 16 * 12
    row = questions[questions["country"] == "Iran"].iloc[2]
    assert (row["language"], row["id"], row["local"]) == ("fa", "Al-3", "مردم چه می‌نوشند، 3؟")
    texts = question_texts(questions)
    counted, held_out = texts["languages"]
    assert set(counted) == set(LANGUAGES.values())
    assert len(set(counted)) == 13
    assert held_out["fa"] == ["مردم چه می‌نوشند، 10؟"]
    assert len(counted["fa"]) == 11
    assert not set(held_out["fa"]) & set(counted["fa"])
    # Mexico and Spain ask the same here: once.
    assert len(counted["es"]) == 11
    assert held_out["es"] == held_out["es"][:1]
    assert held_out["en"] == [
        "What do people drink in UK, number 10?",
        "What do people drink in USA, number 8?",
    ]
    assert texts["cultures"][1]["Mexico"] == ["What do people drink in Mexico, number 10?"]
    (tmp_path / "questions" / "Spain_questions.csv").unlink()
    with pytest.raises(CulnigError, match="no file .*Spain_questions.csv: check the path"):
        load_questions(data=tmp_path)


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


def test_methods_and_short_answers_of_a_run(monkeypatch, capsys, tmp_path):
    for country in set(LANGUAGES) - {"Iran", "Spain", "UK"}:  # a set each: fewer are as good
        monkeypatch.delitem(LANGUAGES, country)
    out, folder = tmp_path / "run", questions_folder(tmp_path / "blend")
    small = [*SMALL_RUN, "--task", "blend", "--data", folder]
    small += ["--model", tiny.byte_model(tmp_path / "tiny")]
    code, _, error = culnig(
        monkeypatch, capsys, "run", "--out", out, *small, "--countries", "Iran,Spain"
    )
    assert code == 0, error
    fast = ["compare-methods", "--run", out, "--top", 0.1, "--quantile", 0.8]
    code, printed, error = culnig(monkeypatch, capsys, *fast)
    assert code == 0, error
    assert "masked: LAPE neurons" in printed
    table = pd.read_csv(out / "methods" / "table.csv")
    assert list(table["set"].unique()) == ["culture-general", "LAPE", "CAPE"]
    assert set(table["task"]) == {"blend", "paraphrase"}
    overlap = pd.read_csv(out / "methods" / "overlap.csv", index_col=0)
    assert 0 < overlap.loc["LAPE", "LAPE"] <= 14  # 10% of 144
    languages = pd.read_csv(out / "methods" / "perplexity-languages.csv", index_col=0)
    assert list(languages.columns) == ["fa", "es", "en"]
    assert languages.notna().all(axis=None)
    html = (out / "report.html").read_text()
    assert "Other ways to find such neurons" in html
    code, again, _ = culnig(monkeypatch, capsys, *fast)
    assert (code, again) == (0, printed)
    code, _, error = culnig(monkeypatch, capsys, *fast, "--top", 0.2)
    assert code == 1
    assert "was made with top = 0.1, this asks for 0.2" in " ".join(error.split())
    (out / "methods" / "methods.json").unlink()
    code, _, error = culnig(monkeypatch, capsys, *fast, "--quantile", 1)
    assert code == 1
    assert "no LAPE neuron: lower quantile, or raise top" in " ".join(error.split())
    short = ["short-answers", "--run", out, "--countries", "Spain", "--max-new-tokens", 3]
    code, _, error = culnig(monkeypatch, capsys, *short)
    assert code == 1
    assert "Spain_data.json: check the path given as data" in " ".join(error.split())
    short += ["--data", short_answers_folder(tmp_path / "short")]
    code, printed, error = culnig(monkeypatch, capsys, *short)
    assert code == 0, error
    assert "Spain, es" in printed
    replies = pd.read_csv(out / "short-answers" / "original.csv")
    assert list(replies["id"]) == ["A-1/Spain"]


def test_compare_methods_errors(monkeypatch, capsys, tmp_path):
    code, _, error = culnig(monkeypatch, capsys, "compare-methods", "--run", tmp_path)
    assert code == 1
    assert "holds no finished run: finish it" in error
    code, _, error = culnig(monkeypatch, capsys, "compare-methods", "--run", tmp_path, "--seeds", 0)
    assert code == 1
    assert "seeds is 0: give 1 or more" in error
