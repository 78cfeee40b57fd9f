"""The rooms of docs/architecture.md are those of the code, and each import goes along an arrow that is drawn there."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import paa

SOURCE = Path(paa.__file__).parent
DIAGRAM = Path(__file__).parents[1] / "docs" / "architecture.md"
CORE_USES = {"torch", "torchvision", "numpy", "triton"}
"""All that the paper's part may import beside the standard library."""


def drawn() -> dict[str, set[str]]:
    """Return the arrows of the diagram: room -> the rooms it points to."""
    page = DIAGRAM.read_text(encoding="utf-8")
    diagram = re.findall(r"```mermaid\nflowchart TD\n(.*?)```", page, re.DOTALL)[0]  # the others are journeys
    arrows = [line.split("-->") for line in diagram.splitlines()]
    return {start.strip(): {end.strip() for end in ends.split("&")} for start, ends in arrows}


def reachable(arrows: dict[str, set[str]], room: str) -> set[str]:
    """Return every room that a path of arrows leads to."""
    return set().union(*({end} | reachable(arrows, end) for end in arrows.get(room, ())))


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    """Return the folder, or the file without a folder, directly inside `src/paa`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def used_rooms() -> dict[str, dict[str, Path]]:
    """Return room -> the other rooms that it imports -> a file that does."""
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")}
    used: dict[str, dict[str, Path]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "paa" and len(parts) > 1 and parts[1] in rooms - {room}:
                used.setdefault(room, {}).setdefault(parts[1], path)
    return used


def test_there_is_no_circle() -> None:
    arrows = drawn()
    for room in arrows:
        assert room not in reachable(arrows, room)


def test_imports_follow_the_arrows() -> None:
    arrows = drawn()
    against = [
        f"{path.relative_to(SOURCE)} imports {other}"
        for room, others in used_rooms().items()
        if not room.startswith("__")  # the public names, and python -m paa
        for other, path in others.items()
        if other not in reachable(arrows, room)
    ]
    assert not against


def test_every_arrow_is_an_import() -> None:
    used = used_rooms()
    unused = [f"{room} --> {end}" for room, ends in drawn().items() for end in ends if end not in used.get(room, {})]
    assert not unused


def test_every_room_is_drawn() -> None:
    arrows = drawn()
    rooms = {room_of(path) for path in SOURCE.rglob("*.py")}
    assert {room for room in rooms if not room.startswith("__")} == arrows.keys() | set().union(*arrows.values())


def test_the_core_stands_on_little() -> None:
    for path in sorted((SOURCE / "core").rglob("*.py")):
        for name in imports(path):
            inside = name.startswith("paa.core")
            assert inside or name.split(".")[0] in CORE_USES | sys.stdlib_module_names, f"{path.name} imports {name}"


def test_every_stop_of_the_journeys_exists() -> None:
    stops = re.findall(r'\["([\w/]+\.py)<br>([\w.]+)"\]', DIAGRAM.read_text(encoding="utf-8"))
    assert len(stops) > 20
    for file, name in stops:
        body: list[ast.stmt] = ast.parse((SOURCE / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            found = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part]
            assert found, f"{file} has no {name}"
            body = found[0].body
