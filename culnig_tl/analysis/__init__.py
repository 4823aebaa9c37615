"""Analysis: what the frames say, with chance and intervals, and figures of it.

What comes in are frames of measure, sets and scores; what goes out are tables and axes. Imports the
root and neurons alone, and no torch.
"""
