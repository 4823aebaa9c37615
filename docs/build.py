"""The site: README, docs, notebooks and the reference, as one folder of pages.

What a page links to is copied beside it. Nothing is written twice: the first page is the README.

    make docs
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / ".site" / "pages"
# Links that lead out of a page's folder in the repository, and the page's folder on the site.
_LINK = re.compile(r"\]\(((?:\.\./|docs/|benchmarks/|notebooks/|CITATION)[^)#\s]*)")


def main() -> None:
    from mkdocs.__main__ import cli

    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    put(ROOT / "README.md", "index.md")
    put(ROOT / "CHANGELOG.md", "changelog.md")
    for page in sorted((ROOT / "docs").glob("*.md")):
        put(page, page.name)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        copy(notebook)
    (PAGES / "reference.md").write_text(reference(), encoding="utf-8")
    cli(["build", "--strict", "--config-file", str(ROOT / "mkdocs.yml"), *sys.argv[1:]])


def put(page: Path, name: str) -> None:
    """A page of the repository, its links as they are on the site."""

    def on_site(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if not target.is_file():
            raise SystemExit(f"{page}: no file {match[1]}")
        if target.suffix == ".md":
            return f"]({target.name}"
        return f"]({copy(target)}"

    text = _LINK.sub(on_site, page.read_text(encoding="utf-8"))
    (PAGES / name).write_text(text, encoding="utf-8")


def copy(file: Path) -> Path:
    """A file's place on the site, where it is put."""
    place = file.resolve().relative_to(ROOT)
    (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, PAGES / place)
    return place


def reference() -> str:
    """Every public name by the file that has it, in the order of the rooms."""
    import culnig_tl
    from culnig_tl import exercises

    parts = ["# Reference\n\n`from culnig_tl import *` gives these names, and no more.\n"]
    rooms = ("", "tasks", "neurons", "models", "measure", "analysis", "training", "study")
    for room in rooms:
        found = [
            (module, names)
            for module, names in sorted(culnig_tl._MODULES.items())
            if (module.partition(".")[0] if "." in module or module in rooms else "") == room
        ]
        if found and room:
            parts.append(f"## {room}\n")
        for module, names in found:
            parts += [f"::: culnig_tl.{module}.{name}\n" for name in names]
    parts.append("## exercises\n\n`from culnig_tl import exercises`; the notebooks call these.\n")
    checks = [getattr(exercises, name) for name in exercises.__all__]
    parts += [f"::: {check.__module__}.{check.__name__}\n" for check in checks]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
