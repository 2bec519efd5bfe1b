"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import zoo

MODULES = [module.name for module in pkgutil.walk_packages(zoo.__path__, "zoo.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 10
