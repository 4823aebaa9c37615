"""Measuring: what neurons do in a hooked model, by the gradient and by intervention.

What comes in are a model, instances or texts, and sets of neurons; what goes out are scores and
frames. Nothing here knows of a run's folder. Imports the root, tasks, neurons and models.
"""
