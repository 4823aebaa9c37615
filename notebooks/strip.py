"""Student copies: the notebooks with exercises, without their solutions.

    python notebooks/strip.py [FOLDER]

writes them into FOLDER (`notebooks/student`). What stands between `### BEGIN SOLUTION` and
`### END SOLUTION` becomes a line that says that it is not written yet.
"""

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
_SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION\n?", re.M | re.S)


def stripped(code: str) -> str:
    """The code with a stub in place of each solution."""
    return _SOLUTION.sub(r'\1raise NotImplementedError("write this function")' + "\n", code)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        if not any(_SOLUTION.search(cell.source) for cell in cells):
            continue
        for cell in cells:
            cell.source, cell.outputs = stripped(cell.source), []
        nbformat.write(notebook, folder / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "student")
