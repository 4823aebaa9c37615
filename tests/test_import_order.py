"""The rooms: what each may import, and which need no model. Imports are read with `ast`, not run."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "culnig_tl"
ROOT = "(root)"
# What each room may import beside itself and the root; the package's own face is of no room.
ROOMS = {
    ROOT: set(),
    "tasks": set(),
    "neurons": set(),
    "models": {"tasks", "neurons"},
    "measure": {"tasks", "neurons", "models"},
    "analysis": {"neurons"},
    "training": {"tasks", "neurons", "models", "measure", "analysis"},
    "exercises": {"tasks", "neurons", "models", "measure", "analysis"},
    "study": {"tasks", "neurons", "models", "measure", "analysis", "training"},
    "cli": {"tasks", "neurons", "models", "measure", "analysis", "training", "study"},
}
FACE = {"__init__", "__main__"}
MODEL_PACKAGES = {"torch", "transformers", "transformer_lens", "tokenizers", "datasets"}
FILES = sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """`tasks/blend.py` -> `tasks.blend`; a room's own file is `tasks.__init__`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {name(path): path for path in FILES}


def room(module: str) -> str:
    first, *rest = module.split(".")
    return first if rest else ROOT


def imports(source: str, package: str = "culnig_tl", *, inside: bool = True) -> set[str]:
    """Everything that a module in `package` imports, as full dotted names.

    `from a.b import c` gives `a.b` and `a.b.c`, as c may be a module. Importing from the package
    itself gives `culnig_tl.__init__` unless what is imported is a module of it.

    Args:
        inside: also what is imported within functions.
    """
    tree = ast.parse(source)
    within = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    found = set()
    for node in ast.walk(tree):
        if not inside and id(node) in within:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [base])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
            if base == "culnig_tl":
                found.discard(base)
    return {f"{name}.__init__" if name == "culnig_tl" else name for name in found}


def own(names: set[str]) -> set[str]:
    """The package's modules among imported names; what is no module stands for `__init__`."""
    found = set()
    for one in names:
        first, *parts = one.split(".")
        if first != "culnig_tl":
            continue
        module = ".".join(parts)
        rooms = [f"{module}.__init__"] if f"{module}.__init__" in MODULES else []
        if module in MODULES or rooms:
            found |= {module} if module in MODULES else set(rooms)
        elif len(parts) == 1 and f"{parts[0]}.__init__" not in MODULES:
            found.add("__init__")
    return found


def imports_of(path: Path, *, inside: bool = True) -> set[str]:
    package = ".".join(("culnig_tl", *path.relative_to(PACKAGE).parts[:-1]))
    return imports(path.read_text(encoding="utf-8"), package, inside=inside)


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import torch.nn as nn", "culnig_tl", {"torch.nn"}),
        ("def f():\n    import torch", "culnig_tl", {"torch"}),
        ("from culnig_tl.files import T", "culnig_tl", {"culnig_tl.files", "culnig_tl.files.T"}),
        ("from culnig_tl import models", "culnig_tl", {"culnig_tl.models"}),
        ("import culnig_tl", "culnig_tl", {"culnig_tl.__init__"}),
        ("from . import cli", "culnig_tl", {"culnig_tl.cli"}),
        ("from ..files import T", "culnig_tl.tasks", {"culnig_tl.files", "culnig_tl.files.T"}),
    ],
)
def test_the_reader_finds_every_form_of_import(source, package, expected):
    assert imports(source, package) == expected


def test_the_reader_leaves_out_what_functions_import():
    source = "import numpy\ndef f():\n    import torch"
    assert imports(source, inside=False) == {"numpy"}


def test_the_reader_knows_the_package_from_its_modules():
    names = {"culnig_tl.models.prompts.Prompt", "culnig_tl.load_task", "numpy.linalg"}
    assert own(names | {"culnig_tl.models.prompts"}) == {"models.prompts", "__init__"}
    assert own({"culnig_tl.tasks", "culnig_tl.tasks.load_task"}) == {"tasks.__init__"}


def test_every_folder_is_a_room_that_says_what_it_is():
    folders = {room(module) for module in MODULES}
    assert folders == set(ROOMS)
    for one in folders - {ROOT}:
        assert len(ast.get_docstring(ast.parse((PACKAGE / one / "__init__.py").read_text()))) > 100


@pytest.mark.parametrize("module", sorted(set(MODULES) - FACE))
def test_imports_only_what_its_room_may(module):
    here = room(module)
    late = {
        other
        for other in own(imports_of(MODULES[module]))
        if other == "__init__" or room(other) not in ROOMS[here] | {here, ROOT}
    }
    assert not late, f"{module} imports {sorted(late)}, which {here} may not"


def test_no_module_imports_itself_by_a_detour():
    graph = {m: own(imports_of(path, inside=False)) - {m} for m, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' > '.join((*way, module))}"
        if module not in done:
            for other in graph[module] - FACE:
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(set(MODULES) - FACE):
        visit(module, ())


@pytest.mark.parametrize("start", ["neurons", "analysis"])
def test_rooms_without_a_model(start):
    for module in MODULES:
        if room(module) not in (start, "tasks", ROOT) or module in FACE:
            continue
        outside = {one.split(".")[0] for one in imports_of(MODULES[module], inside=False)}
        assert not outside & MODEL_PACKAGES, f"{module} imports a model's package"


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_imports_another_test(path):
    names = imports(path.read_text(encoding="utf-8"))
    assert not [name for name in names if name.split(".")[0].startswith("test_")]


def test_the_tests_mirror_the_rooms():
    folders = {p.name for p in Path(__file__).parent.iterdir() if any(p.glob("test_*.py"))}
    assert folders == set(ROOMS) - {ROOT}
