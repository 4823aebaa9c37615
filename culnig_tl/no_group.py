"""No group: how it is written. An instance has None; files have a spelling of their own each."""

# In frames and CSV files, as `evaluate` and `taylor_check` make them.
IN_FRAMES = ""
# On the group axis of scores, where every name is seen.
IN_SCORES = "(none)"


def group_in_frames(group: str | None) -> str:
    """An instance's group as a cell of a frame has it."""
    return group or IN_FRAMES


def group_in_scores(group: str | None) -> str:
    """An instance's group as the axis of scores has it."""
    return group or IN_SCORES
