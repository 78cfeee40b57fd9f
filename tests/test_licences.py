"""All that is installed for this project has a permissive licence, or one whose reason is written down."""

from __future__ import annotations

import sys
from email.message import Message
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))  # as for a script in that folder

import licences


def test_every_package_is_permissive_or_explained() -> None:
    packages = licences.installed()
    assert {"torch", "pytest", "jinja2", "markupsafe"} <= {package.name for package in packages}  # needed in turn, too
    assert [package for package in packages if not package.permissive] == []


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("The MIT License (MIT)", True),
        ("3-Clause BSD License", True),
        ("Apache-2.0 OR BSD-2-Clause", True),
        ("MIT OR GPL-3.0", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 AND (MIT OR GPL-2.0)", True),
        ("BSD-3-Clause AND LGPL-2.1", False),
        ("GPL-3.0", False),
        ("MPL-2.0", False),
        ("MPL-2.0 AND MIT", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("BSDX", False),
        ("not said", False),
    ],
)
def test_what_is_permissive(licence: str, permissive: bool) -> None:
    assert licences.is_permissive(licence) is permissive


@pytest.mark.parametrize(
    ("fields", "permissive"),
    [
        ([("License", "Copyright 2020 Somebody"), ("Classifier", "License :: OSI Approved :: MIT License")], True),
        ([("License", "UNKNOWN"), ("Classifier", "Programming Language :: Python")], False),
        ([("License", "MIT"), ("Classifier", "License :: OSI Approved :: GNU General Public License (GPL)")], False),
        ([("License-Expression", "AGPL-3.0")], False),
        ([], False),
    ],
)
def test_what_a_package_says_of_itself(fields: list[tuple[str, str]], permissive: bool) -> None:
    about = Message()
    for name, value in fields:
        about[name] = value
    assert licences._package("some-package", "1.0", about).permissive is permissive  # type: ignore[arg-type]
