"""Analyses of networks: each module measures one thing, and `charts` draws it.

A new analysis is a module here, with a function that measures, a `NamedTuple` for the rows of its table, and a function
that draws it with `charts.make_axes`; a line in `__init__.pyi`; and a command in `zoo/cli/commands/analysis.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
