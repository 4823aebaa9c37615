"""Training: which modules to train, weights by neurons, and fine-tuning.

What comes in are a Hugging Face model, modules and instances; what goes out are a trained model and
its scores. Nothing here knows of a run's folder. Imports measure, analysis, and what these may.
"""
