"""What answers at once: the face, and the commands that need no model, import no torch."""

import ast
import inspect
import subprocess
import sys

import pytest
from command import Captured, byte_run

import culnig_tl
from culnig_tl.study import paper_models

# What may not be imported, as if it were not installed.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(name + " is not needed here")
sys.meta_path.insert(0, Absent())
"""
MODEL = {"torch", "transformers", "transformer_lens"}
COMMAND = "from culnig_tl.cli.main import main\nmain()"


def without(names, code, *arguments):
    """Standard output of Python code that runs in a process without these packages."""
    script = WITHOUT.replace("{names}", repr(sorted(names))) + code
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run."""
    with pytest.MonkeyPatch.context() as patch:
        return byte_run(patch, Captured(), tmp_path_factory.mktemp("startup"))


def test_the_face_is_told_three_times_the_same():
    """To a type checker, to `import *`, and to `__getattr__`."""
    tree = ast.parse(inspect.getsource(culnig_tl))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        (node.module.removeprefix("culnig_tl."), alias.name)
        for node in typed.body
        for alias in node.names
    }
    modules = culnig_tl._MODULES
    assert imported == {(module, name) for module, names in modules.items() for name in names}
    assert sorted(name for _, name in imported) == culnig_tl.__all__
    assert set(culnig_tl.__all__) <= set(dir(culnig_tl))


def test_all_names_of_the_face():
    namespace: dict = {}
    exec("from culnig_tl import *", namespace)
    assert set(culnig_tl.__all__) <= set(namespace)
    assert namespace["Study"]().seeds == 2
    with pytest.raises(AttributeError, match="module 'culnig_tl' has no attribute 'nope'"):
        _ = culnig_tl.nope


def test_the_face_needs_nothing():
    code = "import culnig_tl\nprint(len(dir(culnig_tl)), culnig_tl.CulnigError.__name__)"
    assert "CulnigError" in without({*MODEL, "numpy", "pandas", "scipy", "matplotlib"}, code)


def test_selection_and_figures_without_torch(finished):
    code = """
from culnig_tl import Scores, plot_layers, select_general
from culnig_tl.analysis.plots import plot_score_histogram
scores = Scores.load(sys.argv[1])
neurons = select_general(scores, None, None, top_mlp=0.1)
plot_score_histogram(scores)
plot_layers([neurons])
print(len(neurons))
"""
    assert int(without(MODEL, code, finished / "scores/neuron.safetensors")) > 0


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("models",)])
def test_commands_without_torch(arguments):
    out = without({*MODEL, "scipy", "matplotlib"}, COMMAND, *arguments)
    assert ("Usage" in out) == ("--help" in arguments)


def test_select_without_torch(finished, tmp_path):
    scores = ("--scores", finished / "scores/neuron.safetensors")
    names = {*MODEL, "scipy", "matplotlib"}
    out = without(names, COMMAND, "select", *scores, "--out", tmp_path / "n.json")
    assert "culture-general" in out
    assert (tmp_path / "n.json").is_file()


def test_report_without_torch(finished):
    (finished / "report.html").unlink()
    assert "accuracy %" in without(MODEL, COMMAND, "report", "--run", finished)
    assert (finished / "report.html").is_file()


def test_paper_models_know_their_layout():
    for name, model in paper_models.PAPER_MODELS.items():
        assert model.layout == culnig_tl.neuron_layout(model.config(), name=name)
