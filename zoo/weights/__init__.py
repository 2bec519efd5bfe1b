"""Trained weights: the published ones, readers of files, and the mapping from their names to our variables.

    file -> reader -> {their name: array} -> naming -> every variable is assigned, or an error lists the differences

A reader knows a format and no network, a naming knows a family of networks and no format. `__init__.pyi` lists the
public names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
