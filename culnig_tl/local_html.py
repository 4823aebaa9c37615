"""HTML that a notebook shows."""


class LocalHTML(str):
    """HTML with its scripts in it, shown by a notebook as it is: nothing is asked of a network."""

    def __repr__(self) -> str:
        return f"HTML of {len(self):,} characters"

    def _repr_html_(self) -> str:
        return str(self)
