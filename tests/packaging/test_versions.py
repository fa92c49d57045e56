"""One version everywhere, and a changelog entry for it."""

import re

import rnnedge
import rnnedge_runtime

VERSION = rnnedge.__version__


def test_the_packages_agree():
    assert rnnedge_runtime.__version__ == VERSION


def test_the_toolkit_wheel_agrees(toolkit):
    assert toolkit.metadata["Version"] == VERSION


def test_the_runtime_wheel_agrees(runtime):
    assert runtime.metadata["Version"] == VERSION


def test_the_toolkit_pins_the_runtime_of_its_own_version(toolkit):
    pins = [n for n in toolkit.metadata.get_all("Requires-Dist") if n.startswith("rnnedge-runtime")]
    assert pins == [f"rnnedge-runtime=={VERSION}"]


def test_both_need_the_same_python(toolkit, runtime):
    assert toolkit.metadata["Requires-Python"] == runtime.metadata["Requires-Python"]


def test_the_changelog_has_it_as_the_latest_release(root):
    headings = re.findall(
        r"^## .*", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    releases = [heading for heading in headings if heading != "## Unreleased"]
    assert re.match(rf"## \[?{re.escape(VERSION)}\b", releases[0])
