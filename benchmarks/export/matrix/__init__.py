"""Exports every network and layer in each precision, opset and batch; `__main__.py` explains how."""
