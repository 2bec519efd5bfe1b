"""The commands, a file for each group; `zoo/cli/__init__.py` lists them in the order of `keras-skip --help`."""
