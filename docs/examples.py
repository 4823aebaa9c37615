"""For the reference: griffe knows a section `Examples`, our docstrings have `Example`."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section of every docstring."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:", "\nExamples:")
