"""What happens inside a network: each module measures one thing, and `charts` draws it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
