"""What the project's files say of each other holds: versions, dependencies, commands, names in CONTRIBUTING.md."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

import paa
from tests.slow import LONG, SLOW

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "paa.__version__"}
    # a literal, which setuptools reads without importing torch
    assert re.findall(r'^__version__ = "(.+)"$', Path(paa.__file__).read_text(), flags=re.M) == [paa.__version__]
    others = [path for path in Path(paa.__file__).parent.rglob("*.py") if f'"{paa.__version__}"' in path.read_text()]
    assert others == [Path(paa.__file__)]


def test_the_changelog_has_this_version_and_what_is_unreleased():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert headings[:2] == ["Unreleased", paa.__version__]


def test_lowest_constraints_are_the_bounds_of_pyproject():
    extras = PROJECT["optional-dependencies"]
    requirements = [*PROJECT["dependencies"], *(requirement for extra in extras.values() for requirement in extra)]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    lowest = {line for line in lines if not line.startswith("#")}
    assert lowest == {requirement.replace(">=", "==") for requirement in requirements if ">=" in requirement}


def test_every_extra_is_in_all():
    extras = PROJECT["optional-dependencies"]
    assert all(part.startswith("paa[") for part in extras["all"])
    assert set(re.findall(r"\w+", " ".join(extras["all"]))) == {"paa", *extras} - {"all", "docs", "dev"}
    assert {"paa[all]", "paa[docs]"} <= set(extras["dev"])


def test_pre_commit_runs_the_commands_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.M)
    assert recipe
    commands = [line.strip("\t@") for line in recipe[1].splitlines() if "echo" not in line]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == [line.replace("$(BIN)", ".venv/bin") for line in commands]


def test_continuous_integration_runs_make():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert runs == {"test": ["make test-all PYTHON=python"], "lowest": ["make lowest PYTHON=python"]}
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert jobs["test"]["strategy"]["matrix"]["python"][0] == oldest


@pytest.mark.parametrize("place", SLOW)
def test_slow_tests_exist(place):
    assert (ROOT / "tests" / place).exists()


@pytest.mark.parametrize("place", LONG)
def test_long_tests_exist(place):
    path, _, test = place.partition("::")
    assert (ROOT / "tests" / path).exists()
    if test:
        assert f"def {test.partition('[')[0]}(" in (ROOT / "tests" / path).read_text()


def test_what_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    names = re.findall(r"`([\w./-]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    paths = [name for name in names if "/" in name and not name.startswith("/")]
    dotted = [name for name in names if re.fullmatch(r"paa(\.\w+)+", name)]
    assert len(paths) > 5
    assert len(dotted) > 5
    for name in paths:
        assert (ROOT / name).exists() or (ROOT / "src" / "paa" / name).exists(), name
    for name in dotted:
        assert exists(name), name


def exists(name: str) -> bool:
    """Return whether a dotted name is that of a module, or of something in one."""
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute) or bool(importlib.import_module(name))
    except ModuleNotFoundError:
        return False
