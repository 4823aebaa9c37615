"""Neurons without a model: their layout, sets of them, scores, and selection.

What comes in are numbers that were measured, as arrays or files; what goes out are sets. Imports
the root alone, and no torch.
"""
