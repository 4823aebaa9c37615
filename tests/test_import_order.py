"""The way of the data: a module imports only what comes before it. Read with `ast`, not run."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "culnig_tl"
ORDER = (
    "errors checks interrupts files schemas frames processes instances tasks neurons run_files embedded model_files configs identity "
    "faithful models chat finite prompts batches scores checkpoints attribution "
    "selection modules lape ablation evaluation generation texts effects set_effects "
    "patching tokens agreement comparison study feasible results published plots report folders runs verify precision "
    "short_answers methods paper plan finetuning finetune_runs export harness terminal options commands cli __main__"
).split()
DATA = "data"  # the folder of bundled data: a package without code
MAY_BE_ABSENT = {"__main__"}
MODEL_FREE = ("lape", "selection", "agreement", "comparison", "plots", "report")
MODEL_PACKAGES = {"torch", "transformers", "transformer_lens"}


def place(path: Path) -> str:
    """The module's name in `ORDER`: `tasks/blend.py` -> `tasks`, `__init__.py` -> `__init__`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(p for p in PACKAGE.rglob("*.py") if DATA not in p.relative_to(PACKAGE).parts)
PLACES = {place(path) for path in FILES}


def imports(source: str, package: str = "culnig_tl") -> set[str]:
    """Everything that a module in `package` imports, anywhere, as full dotted names.

    `from a.b import c` gives `a.b` and `a.b.c`, as c may be a module. Importing from the package
    itself gives `culnig_tl.__init__` unless what is imported is a module of it.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
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
    """The places in the package among imported names; what is no module stands for `__init__`."""
    inside = [name.split(".") for name in names if name.split(".")[0] == "culnig_tl"]
    return {parts[1] if parts[1] in PLACES | set(ORDER) else "__init__" for parts in inside}


def imports_of(path: Path) -> set[str]:
    package = ".".join(("culnig_tl", *path.relative_to(PACKAGE).parts[:-1]))
    return imports(path.read_text(encoding="utf-8"), package)


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


def test_the_reader_knows_the_package_from_its_modules():
    assert own({"culnig_tl.models.x", "culnig_tl.load_task", "numpy.linalg"}) == {
        "models",
        "__init__",
    }


def test_every_module_is_in_the_order():
    unlisted = PLACES - set(ORDER) - {"__init__"}
    assert not unlisted, f"not in ORDER: {sorted(unlisted)}"
    gone = set(ORDER) - PLACES - MAY_BE_ABSENT
    assert not gone, f"in ORDER, but no such file: {sorted(gone)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_earlier_modules(path):
    here = place(path)
    if here == "__init__":
        return
    assert here in ORDER, f"{path.name} is not in ORDER"
    earlier = set(ORDER[: ORDER.index(here)]) | ({"tasks"} if here == "tasks" else set())
    late = own(imports_of(path)) - earlier
    assert not late, f"{path.name} imports {sorted(late)}, which come after it"


def test_selection_and_figures_need_no_model():
    by_place: dict[str, set[str]] = {}
    for path in FILES:
        by_place.setdefault(place(path), set()).update(imports_of(path))
    for start in MODEL_FREE:
        if start not in by_place:
            continue
        closure, waiting = set(), [start]
        while waiting:
            module = waiting.pop()
            closure.add(module)
            waiting.extend((own(by_place.get(module, set())) - closure) - {"__init__"})
            outside = {name.split(".")[0] for name in by_place.get(module, set())}
            assert not outside & MODEL_PACKAGES, f"{start} needs {module}, which imports a model"
        assert "models" not in closure, f"{start} needs models"
        assert "errors" in closure
