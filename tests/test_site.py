"""The site: its navigation is whole, every public name is on an API page, and nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from inspect import ismodule
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIGURATION = DOCS / "site" / "mkdocs.yml"


def test_every_page_is_in_the_navigation():
    navigation = CONFIGURATION.read_text(encoding="utf-8").partition("\nnav:")[2].partition("\n\n")[0]
    listed = re.findall(r"(\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("package", ["keras_skip", "zoo", "export"])
def test_every_public_name_is_on_its_api_page(package):
    page = (DOCS / "api" / f"{package}.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^::: {package}\.(\w+)$", page, re.MULTILINE)
    module = import_module(package)
    assert sorted(listed) == sorted(name for name in module.__all__ if not ismodule(getattr(module, name)))


def test_every_figure_has_its_data():
    figures = {path.stem for path in (DOCS / "figures").glob("*.svg")}
    assert figures == {path.stem for path in (DOCS / "figures").glob("*.csv")}
    shown = {name for path in DOCS.rglob("*.md") for name in re.findall(r"figures/(\w+)\.svg", path.read_text("utf-8"))}
    assert figures == shown


class Loaded(HTMLParser):
    """What a page loads by itself, what it links to, and its images without a text."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.links, self.silent = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "srcset", "data") if given.get(name)]
        if tag == "link" and given.get("rel") != "canonical":
            self.addresses.append(given["href"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt"):
            self.silent.append(given.get("src"))


def is_up_to_date():
    """Whether no page or docstring has changed since `make docs` began to build the site."""
    stamp = ROOT / "build" / ".site"
    modules = (path for package in ("keras_skip", "zoo", "export") for path in (ROOT / package).rglob("*.py"))
    # A folder changes when a page is renamed or deleted.
    sources = [DOCS, *DOCS.rglob("*"), *modules]
    return stamp.exists() and stamp.stat().st_mtime > max(path.stat().st_mtime for path in sources)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if is_up_to_date():
        return ROOT / "build" / "site"
    if find_spec("mkdocs") is None:
        pytest.skip("the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", CONFIGURATION, "--site-dir", out]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_pages_load_nothing_from_elsewhere_and_images_have_texts(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) == len(list(DOCS.rglob("*.md")))
    for path in pages:
        loaded = Loaded(path.read_text(encoding="utf-8"))
        assert not [address for address in loaded.addresses if re.match(r"(\w+:)?//", address)], path
        assert not loaded.silent, path
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(\w+:)?//", styles)


def test_what_a_page_loads_or_links_to_is_there(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    for path in pages:
        loaded = Loaded(path.read_text(encoding="utf-8"))
        local = {address.partition("#")[0].partition("?")[0] for address in loaded.addresses + loaded.links}
        missing = [
            name for name in local if not re.match(r"\w+:|$", name) and not (path.parent / unquote(name)).exists()
        ]
        assert not missing, path
    assert "background: white" in (site / "site" / "extra.css").read_text(encoding="utf-8")


def test_options_that_all_blocks_share_are_on_the_page(site):
    page = (site / "api" / "keras_skip.html").read_text(encoding="utf-8")
    assert "{options}" not in page
    assert page.count("spatial_dropout") >= 9
    assert ">>> " in re.sub("<[^>]+>", "", page).replace("&gt;", ">")


@pytest.mark.parametrize(
    ("name", "argument"),
    [("zoo.build", "features_only"), ("keras_skip.ResidualBlock", "zero_init_gamma"), ("export.export", "overwrite")],
)
def test_functions_and_classes_show_their_arguments_and_docstring(site, name, argument):
    page = (site / "api" / f"{name.partition('.')[0]}.html").read_text(encoding="utf-8")
    entry = page.partition(f'<h3 id="{name}"')[2].partition("<h3 ")[0]
    signature, _, docstring = entry.partition('<div class="doc doc-contents')
    assert argument in re.sub("<[^>]+>", "", signature)
    assert argument in re.sub("<[^>]+>", "", docstring)
