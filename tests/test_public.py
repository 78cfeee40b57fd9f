"""The public names: all listed, all documented, imported when they are first used, and nothing public unlisted."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import paa
from paa import assigners, core

CORE = sorted(p for p in Path(core.__file__).parent.glob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("module", [paa, core, assigners], ids=lambda module: module.__name__)
def test_listed_names_exist_and_are_documented(module: ModuleType) -> None:
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


def test_dir_lists_the_public_names_alone() -> None:
    assert [name for name in dir(paa) if not name.startswith("__")] == sorted(paa.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'paa' has no attribute 'Paa'"):
        paa.Paa  # noqa: B018
    with pytest.raises(ImportError, match="Paa"):
        exec("from paa import Paa")


def test_importing_paa_does_not_import_torch() -> None:
    """Nor does listing its names: `paa --help` should not wait for torch."""
    code = "import sys, paa; dir(paa); assert 'torch' not in sys.modules; from paa import core, paa_losses, detect; "
    code += "assert paa.core is core and paa.paa_losses is paa_losses and core.detect is detect"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_what_is_not_public_in_the_core_says_so_by_its_name(path: Path) -> None:
    """Every name that a file of the core defines is in `paa.core.__all__`, or begins with an underscore."""
    defined: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined.update(target.id for target in targets if isinstance(target, ast.Name))
    assert {name for name in defined if not name.startswith("_")} <= set(core.__all__)
