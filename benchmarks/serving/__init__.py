"""Measures the server; `__main__.py` explains how."""
