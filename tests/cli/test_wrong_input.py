"""Wrong input to every command: one clear line, nothing written, nothing of the user's touched."""

import hashlib
import os

import pandas as pd
import pytest
import tiny
from command import SMALL_RUN, Captured, culnig

from culnig_tl.cli import tables
from culnig_tl.files import half_written_name, write_json
from culnig_tl.paths import check_own_folder

LONG = "x" * 300
STEPS = ("report", "verify", "compare-methods", "short-answers", "modules", "finetune", "export")
STEPS += ("precision", "lm-eval", "neurons")
NEEDED = {"finetune": ("--task", "mrpc"), "export": ("--to", "x"), "lm-eval": ("--tasks", "x")}
COMMANDS = ("run", "plan", "score", "select", "evaluate", "models", *STEPS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the byte model, its files, and files of others; made once."""
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as inner:
        inner.chdir(folder)
        tiny.byte_model(folder / "tiny")
        out = Captured()
        code, _, error = culnig(
            patch, out, "run", "--model", folder / "tiny", "--out", folder / "run", *SMALL_RUN
        )
        assert code == 0, error
        scores = folder / "run/scores/neuron.safetensors"
        code, *_ = culnig(patch, out, "select", "--scores", scores, "--out", folder / "n.json")
        assert code == 0
    (folder / "data.csv").write_text("id,question\n1,x\n")
    (folder / "thesis.txt").write_text("mine")
    (folder / "others").mkdir()
    (folder / "others/thesis.tex").write_text("mine")
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (folder / "loop").symlink_to("loop")
    (folder / "link.csv").symlink_to("data.csv")
    (folder / "link.safetensors").symlink_to(scores)
    return folder


def held(folder):
    """Every file under a folder, with its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def refused(monkeypatch, capsys, finished):
    """Runs a command that must fail in one line, and leave every file as it was."""

    def call(*arguments, code=1):
        monkeypatch.chdir(finished)
        before = held(finished)
        found, out, error = culnig(monkeypatch, capsys, *arguments)
        lines = [line for line in error.splitlines() if line.startswith("culnig: ")]
        assert found == code, (out, error)
        assert len(lines) == 1, error
        assert "Traceback" not in error
        assert held(finished) == before
        return lines[0]

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_usage(refused, command):
    error = refused(command, "--no-such-option", code=2)
    assert "No such option" in error
    assert f"culnig {command} --help" in error
    assert "unexpected extra argument" in refused(command, *_needed(command), "a", "b", code=2)
    if command in NEEDED or command in ("score", "select", *STEPS):
        assert "Missing option" in refused(command, code=2)


def _needed(command):
    given = {"score": ("--out", "o"), "select": ("--scores", "s", "--out", "o")}
    run = ("--run", "run") if command in STEPS else ()
    return (*run, *NEEDED.get(command, ()), *given.get(command, ()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?"),
        (("score", "--out", "o", "--limit", "abc"), "Invalid value for '--limit'"),
        (("score", "--out", "o", "--limit", "-1"), "Invalid value for '--limit'"),
        (("verify", "--run", "run", "--prompts", "1.5"), "Invalid value for '--prompts'"),
        (("export", "--run", "run", "--to", ""), "the path is empty"),
        (("report", "--run", "~nobody-here/run"), "no home folder ~nobody-here"),
    ],
)
def test_usage_of_values(refused, arguments, words):
    assert words in refused(*arguments, code=2)


def test_without_arguments_the_help_is_shown(monkeypatch, capsys):
    code, out, error = culnig(monkeypatch, capsys)
    assert (code, error) == (0, "")
    assert "Usage: culnig" in out
    assert "compare-methods" in out


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        *((command, "[/blue]") for command in STEPS),
        *(("verify", name) for name in (LONG, "loop", "tiny", "tiny/config.json", "a\0b")),
        *((command, LONG) for command in ("report", "modules", "export")),
    ],
)
def test_no_run(refused, command, folder):
    refused(command, "--run", folder, *NEEDED.get(command, ()))


SCORE = ("score", "--model", "tiny", "--format", "cloze", "--limit", 2)
EVALUATE = ("evaluate", "--model", "tiny", "--format", "cloze", "--limit", 2)
SELECT = ("select", "--scores", "run/scores/neuron.safetensors")
RUN = ("run", "--model", "tiny", *SMALL_RUN)
FINETUNE = ("finetune", "--run", "run", "--task", "paraphrase")
VALUES = [
    *(((*c, "--out", "o", "--token-budget", 0), "token budget is 0") for c in (SCORE, EVALUATE)),
    *(((*c, "--out", "o", "--devices", 0), "devices is 0") for c in (SCORE, EVALUATE)),
    *(((*c, "--out", "o", "--format", "x"), "unknown answer format 'x'") for c in (SCORE,)),
    *(((*EVALUATE, "--factor", v), f"factor is {v}") for v in ("nan", "inf", "-inf")),
    ((*EVALUATE, "--neurons", "n.json", "--random-seed", -1), "seed is -1"),
    *(((*SELECT, "--out", "o", o, "nan"), "nan") for o in ("--top-mlp", "--remove", "--top")),
    *(((*SELECT, "--out", "o", o, 2), "is 2") for o in ("--top-attention", "--top")),
    ((*SELECT, "--out", "o", "--least-z", "nan"), "least_z is nan"),
    ((*SELECT, "--out", "o", "--variant", "maxx"), "maxx"),
    *((("verify", "--run", "run", o, -1), "is -1") for o in ("--prompts", "--steps", "--pairs")),
    *((("compare-methods", "--run", "run", o, -1), "is -1") for o in ("--context", "--top")),
    (("compare-methods", "--run", "run", "--quantile", "nan"), "quantile is nan"),
    (("short-answers", "--run", "run", "--limit", 0), "limit is 0"),
    (("short-answers", "--run", "run", "--max-new-tokens", 0), "max_new_tokens is 0"),
    (("short-answers", "--run", "run", "--countries", ","), "no countries"),
    (("modules", "--run", "run", "--share", "nan"), "share is nan"),
    (("modules", "--run", "run", "--seed", -1), "seed is -1"),
    *(((*FINETUNE, "--learning-rates", v), v) for v in ("nan", "inf", "-1", "abc")),
    ((*FINETUNE, "--learning-rates", "0"), "learning rate is 0"),
    *(((*FINETUNE, o, ","), "give some") for o in ("--learning-rates", "--seeds", "--which")),
    ((*FINETUNE, "--seeds", "0,-1"), "seed is -1"),
    ((*FINETUNE, "--which", "nope"), "unknown choice 'nope'"),
    *(((*FINETUNE, o, -1), "is -1") for o in ("--train-limit", "--culture-limit", "--lora")),
    *(((*FINETUNE, o, 0), "is 0") for o in ("--steps", "--batch", "--accumulation")),
    ((*FINETUNE, "--report-to", "nope"), "unknown report_to 'nope'"),
    (("finetune", "--run", "run", "--task", "../../x"), "unknown task"),
    (("export", "--run", "run", "--to", "x", "--factor", "inf"), "factor is inf"),
    *((("precision", "--run", "run", "--dtypes", v), "no dtype") for v in ("", ",")),
    (("precision", "--run", "run", "--dtypes", "bfloat16,../x"), "unknown dtype '../x'"),
    *((("lm-eval", "--run", "run", "--tasks", v), "no task") for v in ("", ",")),
    (("lm-eval", "--run", "run", "--tasks", "../../x"), "cannot be a file's name"),
    (("lm-eval", "--run", "run", "--tasks", "x", "--limit", -1), "limit is -1"),
    (("lm-eval", "--run", "run", "--tasks", "x", "--few-shot", -1), "few_shot is -1"),
    (("lm-eval", "--run", "run", "--tasks", "x", "--seeds", 2), "as many as the run has"),
    (("models", "[/blue]"), "cannot load model '[/blue]'"),
]


@pytest.mark.parametrize(("arguments", "words"), VALUES)
def test_values(refused, arguments, words):
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("command", "device"),
    [
        *((SCORE, name) for name in ("gpu", "cuda:99", "mps", "meta", "cpu:x", "[/blue]")),
        (EVALUATE, "gpu"),
        (("plan", "--model", "tiny"), "cuda:99"),
    ],
)
def test_devices(refused, command, device):
    error = refused(*command, *(() if command[0] == "plan" else ("--out", "o")), "--device", device)
    assert f"no device '{device}' here: choose from cpu" in error


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("others", "it is a folder; choose another name"),
        ("/dev/null", "it is a device or a pipe"),
        (LONG, "File name too long"),
        ("loop", "Too many levels of symbolic links"),
        ("a\0b", "null byte"),
        ("thesis.txt/o", "choose a folder you may write to"),
        ("thesis.txt", "thesis.txt is there already and is no file that this command writes"),
        (".git/HEAD", "is no file that this command writes"),
        ("tiny/model.safetensors", ""),
    ],
)
def test_outputs_onto_what_is_there(refused, out, words):
    assert words in refused(*SELECT, "--out", out)


@pytest.mark.parametrize("command", [SCORE, EVALUATE])
@pytest.mark.parametrize("out", ["others", "loop", "thesis.txt", "tiny/model.safetensors"])
def test_outputs_before_a_model_is_loaded(refused, command, out):
    refused(*command, "--out", out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SCORE, "--data", "data.csv", "--out", "data.csv"), "is read as the data"),
        ((*EVALUATE, "--data", "data.csv", "--out", "data.csv"), "is read as the data"),
        ((*EVALUATE, "--data", "data.csv", "--out", "link.csv"), "is read as the data"),
        ((*EVALUATE, "--data", "link.csv", "--out", "others/../data.csv"), "is read as the data"),
        ((*EVALUATE, "--templates", "data.csv", "--out", "data.csv"), "is read as the templates"),
        ((*EVALUATE, "--neurons", "n.json", "--out", "n.json"), "is read as the neurons"),
        ((*EVALUATE, "--out", "tiny/config.json"), "part of what is read as the model"),
        ((*SELECT, "--out", SELECT[2]), "is read as the scores"),
        ((*SELECT, "--out", "link.safetensors"), "is read as the scores"),
        ((*SELECT, "--control", "n.json", "--out", "n.json"), "is read as the control"),
        ((*SELECT, "--countryrc", "n.json", "--out", "n.json"), "is read as the names"),
        ((*RUN, "--out", "run", "--data", "run/table.csv"), "whose files are written"),
        ((*FINETUNE, "--data", "run/table.csv"), "whose files are written"),
        ((*RUN, "--out", "."), "is in ."),
        ((*RUN, "--out", "tiny"), "is in tiny"),
        ((*RUN, "--out", "others"), "others holds other files (thesis.tex) and no run.json"),
        ((*RUN, "--out", ".git"), ".git holds other files (HEAD) and no run.json"),
        ((*RUN, "--out", "thesis.txt"), "cannot write thesis.txt"),
        ((*RUN, "--out", "loop"), "cannot write loop"),
        ((*RUN, "--out", LONG), "File name too long"),
        *((("export", "--run", "run", "--to", to), "is there already") for to in ("tiny", "loop")),
        (("export", "--run", "run", "--to", LONG), "File name too long"),
        (("export", "--run", "run", "--to", "thesis.txt/x"), "cannot write thesis.txt/x"),
    ],
)
def test_nothing_is_overwritten(refused, arguments, words):
    assert words in refused(*arguments)


def test_export_beside_a_checkout(monkeypatch, capsys, finished):
    monkeypatch.chdir(finished)
    code, _, error = culnig(monkeypatch, capsys, "export", "--run", "run", "--to", "git")
    assert code == 0, error
    assert (finished / ".git/HEAD").read_text() == "ref: refs/heads/main\n"
    assert (finished / "git/export.json").is_file()
    assert not list(finished.glob(".culnig-*"))


def test_scores_under_any_name(monkeypatch, capsys, finished):
    monkeypatch.chdir(finished)
    for _ in range(2):  # its own file it may replace
        code, out, error = culnig(monkeypatch, capsys, *SCORE, "--out", "[/blue].checkpoint")
        assert code == 0, error
        assert "Saved: [/blue].checkpoint" in out
    code, *_ = culnig(
        monkeypatch, capsys, "select", "--scores", "[/blue].checkpoint", "--out", "m.json"
    )
    assert code == 0


def test_markup_in_a_run(monkeypatch, capsys, finished):
    """What stands in a folder's name or in a table is printed as it is."""
    monkeypatch.chdir(finished)
    os.makedirs("[bold]/[")
    os.symlink("../../run", "[bold]/[/blue]")
    code, out, error = culnig(monkeypatch, capsys, "report", "--run", "[bold]/[/blue]")
    assert code == 0, error
    assert f"Report: {finished / 'run/report.html'}" in out
    table = pd.read_csv(finished / "run/table.csv", index_col="task")
    tables.print_comparison(table.rename(index=lambda task: f"[/blue]{task}"), name="[red]set")
    out = capsys.readouterr().out
    assert "[/blue]everyday" in out
    assert "[red]set" in out


def test_folders_of_ours_and_of_others(tmp_path):
    check_own_folder(tmp_path / "new", "run.json")
    check_own_folder(tmp_path, "run.json")
    (tmp_path / half_written_name()).write_text("")  # of a write that was killed
    (tmp_path / "modules.json").write_text("")
    check_own_folder(tmp_path, "run.json", ours=("scores.csv",))
    with pytest.raises(ValueError, match=r"holds other files \(modules.json\) and no run.json"):
        check_own_folder(tmp_path, "run.json")
    write_json(tmp_path / "run.json", {})
    check_own_folder(tmp_path, "run.json")
