"""No country: how it is written. An instance has None; files have a spelling of their own each."""

# In frames and CSV files, as `evaluate` and `taylor_check` make them.
IN_FRAMES = ""
# On the country axis of scores, where every name is seen.
IN_SCORES = "(none)"


def country_in_frames(country: str | None) -> str:
    """An instance's country as a cell of a frame has it."""
    return country or IN_FRAMES


def country_in_scores(country: str | None) -> str:
    """An instance's country as the axis of scores has it."""
    return country or IN_SCORES
