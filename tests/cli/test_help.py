"""The help pages: options with their help, in panels, and an example that works."""

import dataclasses
import shlex

import pytest
from command import culnig
from typer.main import get_command

from culnig_tl.cli.main import app
from culnig_tl.study.arguments import PANELS, Study

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
FIELDS = {field.name: field for field in dataclasses.fields(Study)}
MARK = "Example: culnig "


def parsed(example):
    """Options and arguments of an example, read as the command line would; nothing is run."""
    assert example.startswith(MARK)
    name, *arguments = shlex.split(example.removeprefix(MARK))
    return name, COMMANDS[name].make_context(name, arguments).params


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_is_one(command):
    name, given = parsed(COMMANDS[command].epilog)
    assert name == command
    assert command == "models" or [value for value in given.values() if value]


def test_the_example_of_the_program_is_one():
    assert parsed(get_command(app).epilog)[0] == "run"


def test_a_wrong_example_is_found():
    with pytest.raises(Exception, match="No such option: --sed"):
        parsed(f"{MARK}run --sed 5")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_is_the_last_line(monkeypatch, capsys, command):
    code, out, _ = culnig(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert out.strip().splitlines()[-1].strip() == COMMANDS[command].epilog


@pytest.mark.parametrize("command", ["run", "plan"])
def test_every_field_of_a_study_is_an_option(command):
    options = {option.name: option for option in COMMANDS[command].params}
    assert set(options) - set(FIELDS) - {"out", "dry_run", "force"} == {"preset", "questions"}
    for name, field in FIELDS.items():
        assert options[name].help == field.metadata["help"]
        assert options[name].rich_help_panel == field.metadata["panel"]


def test_panels_in_their_order(monkeypatch, capsys):
    _, out, _ = culnig(monkeypatch, capsys, "run", "--help")
    places = [out.index(f"─ {panel} ─") for panel in ("Options", *PANELS)]
    assert places == sorted(places)


def test_what_commands_share_has_the_same_help():
    shared = [o for c in COMMANDS.values() for o in c.params if o.name in ("dtype", "top_mlp")]
    assert len(shared) == 7
    assert all(option.help == FIELDS[option.name].metadata["help"] for option in shared)
