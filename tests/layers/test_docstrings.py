"""The examples in the docstrings run, and every public name has one."""

import doctest
import inspect
import re

import pytest

import keras_skip as ks
from keras_skip._base.config import ConfiguredLayer

# The others name their errors where the options that all blocks share are described.
OF_THEIR_OWN = (
    "BatchNormalization",
    "BlurPool",
    "DepthAttention",
    "DepthAverage",
    "DropPath",
    "ExpandStreams",
    "GatedResidualNetwork",
    "HighwayGate",
    "HyperConnection",
    "LaurelGate",
    "LayerScale",
    "RecurrentHighway",
    "RecurrentHighwayCell",
    "ReduceStreams",
    "Residual",
    "ResidualBlock",
    "TransitionBlock",
    "StochasticDepth",
    "add_layer_scale",
    "add_squeeze_excite",
    "add_stochastic_depth",
    "linear_survival",
    "list_depth_weights",
    "list_skips",
    "prune_skips",
    "recorded_skips",
    "stack",
    "without_branch",
    "without_skip",
)


@pytest.mark.once
@pytest.mark.parametrize("name", ks.__all__)
def test_docstring_has_its_parts_and_its_example_runs(name):
    item = getattr(ks, name)
    arguments = ["Args:"] if inspect.signature(item).parameters else []
    for part in (*arguments, "Raises:" if name in OF_THEIR_OWN else "errors", "arxiv.org"):
        assert part in item.__doc__, f"{name}: no {part!r} in its docstring"
    assert "{options}" not in item.__doc__
    arguments = re.findall(r"^ {4}(\w+): ", inspect.getdoc(item), re.MULTILINE)
    assert len(arguments) == len(set(arguments)), f"{name} describes an argument twice"
    tests = [test for test in doctest.DocTestFinder(recurse=False).find(item, name, globs=vars(ks)) if test.examples]
    assert tests, f"{name} has no example"
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("indentation", ["", "    "])
def test_shared_options_stand_among_the_arguments_of_a_class(indentation):
    """Python removes the indentation of docstrings from 3.13 on."""
    text = "Scales.\n\nArgs:\n    rate: Its own.\n    {options}\n\nCall arguments:\n    x: Any."
    options = "\n    rate: Another one.\n    units: Several\n        lines.\n    seed: One line.\n    "
    contents = {"__doc__": text.replace("\n", f"\n{indentation}"), "OPTIONS_DOC": options}
    documented = type("Scale", (ConfiguredLayer,), contents).__doc__
    assert documented == text.replace("{options}", "units: Several\n        lines.\n    seed: One line.")
