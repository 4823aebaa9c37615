"""Studies: a whole study in a folder, its steps, its tables and its report.

What comes in are a study's arguments, or the folder of a finished run; this room alone writes into
such a folder. Imports all other rooms but cli. Whatever needs a model is imported by the function
that needs it, so that a run is read, selected from and reported without torch.
"""
