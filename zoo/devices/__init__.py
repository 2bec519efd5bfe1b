"""The hardware of a training: the CPU and GPUs of one process, or of several processes on one host or many."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
