"""Versions: constraints.txt pins one of each requirement that pyproject.toml allows, and the CHANGELOG has ours."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = {
    canonicalize_name(name): version
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for name, _, version in [line.partition("==")]
    if version
}
# Its builds differ by CUDA version, and a pin would choose one.
NOT_PINNED = {"torch"}
REQUIREMENTS = {
    str(requirement): requirement
    for line in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    for requirement in [Requirement(line)]
    if requirement.name not in NOT_PINNED and (requirement.marker is None or requirement.marker.evaluate())
}


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_a_version_known_to_work_is_pinned(requirement):
    wanted = REQUIREMENTS[requirement]
    assert wanted.specifier.contains(PINNED[canonicalize_name(wanted.name)])


def test_the_changelog_has_a_section_for_the_version():
    (version,) = re.findall('__version__ = "(.+)"', (ROOT / "keras_skip" / "__init__.py").read_text(encoding="utf-8"))
    assert f"\n## [{version}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_next_minor_version_of_tf2onnx_is_not_allowed():
    (wanted,) = [one for one in REQUIREMENTS.values() if one.name == "tf2onnx"]
    assert wanted.specifier.contains("1.17.9") and not wanted.specifier.contains("1.18.0")
