"""Trained weights: which are published, how files are read, and how their names become those of our variables.

    file -> reader -> {their name: array} -> naming -> assignment of every variable, or an error that lists what differs

A reader knows a format and no network, a naming knows a family of networks and no format. `__init__.pyi` lists the
public names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
