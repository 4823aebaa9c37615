"""The command line: options, commands, and what is printed.

What comes in are words, what goes out are tables on the terminal and one-line errors. Imports all
other rooms, and what needs a model only when a command runs.
"""
