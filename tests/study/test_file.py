"""STUDY.toml: what is read, and that whatever is wrong in it is one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import ConfigError
from paa.study.cells import Cell, cells_of, config_of
from paa.study.file import read_study
from tests.study.studies import ATSS, OWN, PAA, SMALL, small_study

DATA = '[[data]]\npath = "x"\n'


def test_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(OWN)
    own = '[[rules]]\nname = "own"\nassigner = "rules.py:own"\n'
    study = small_study(tmp_path, Path("sets/shapes"), PAA + ATSS + own, seeds="[0, 1]", epochs="[1, 2.5]")
    assert [(rule.name, rule.written) for rule in study.rules] == [
        ("paa", "paa"),
        ("atss-5", "atss(per_level=5)"),
        ("own", "rules.py:own"),
    ]
    assert study.rules[2].text == f"{tmp_path / 'rules.py'}:own"
    assert study.rules[2].source == tmp_path / "rules.py"
    assert study.data[0].values["path"] == str(tmp_path / "sets" / "shapes")
    cells = cells_of(study)
    assert len(cells) == len({cell.folder for cell in cells}) == 2 * 2 * 3
    assert cells[:2] == [Cell("shapes", "paa", 1.0, 0), Cell("shapes", "atss-5", 1.0, 0)]
    config = config_of(study, Cell("shapes", "own", 2.5, 1))
    assert (config.recipe.schedule.epochs, config.runtime.seed, config.validation.batch_size) == (2.5, 1, 0)
    assert config.recipe.assigner == study.rules[2].text
    assert "assigner" in config.named
    assert not [name for name in config.named if name.startswith("data.val")]


def test_paths_are_relative_to_the_folder_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(DATA + PAA)
    assert read_study(file, tmp_path / "sets").data[0].values["path"] == str(tmp_path / "sets" / "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"sedes = [1]\n{DATA}{PAA}", "unknown field `sedes`; known: data, rules, recipe, "),
        (f"epochs = 12\n{DATA}{PAA}", r"Expected `array`, got `int` - at `\$\.epochs`; a list is written in brackets"),
        (f"seeds = ['a']\n{DATA}{PAA}", r"Expected `int`, got `str` - at `\$.seeds"),
        (f"seeds = []\n{DATA}{PAA}", "seeds: expected at least one"),
        (DATA, "missing required field `rules`"),
        (PAA, "missing required field `data`"),
        (f"{DATA}[[rules]]\nname = 'x'\n", "rules: expected an assigner"),
        (f"[[data]]\nname = 'x'\n{PAA}", "data: expected a path"),
        (f"{DATA}{PAA}{PAA}", "two have the name 'paa'"),
        (f"{DATA}[[rules]]\nassigner = 'rules.py:x'\n", "name 'rules.py:x': expected letters"),
        (f"{DATA}[[rules]]\nassigner = 'atss(per_level=5)'\n", "give a name beside the assigner, as name = 'my-rule'"),
        (f"{DATA}[[rules]]\nassigner = 'paa'\nname = '..'\n", "name '..': expected letters"),
        (f"{DATA}{PAA}[schedule]\nepochs = 3\n", "schedule.epochs cannot be set"),
        (f"{DATA}{PAA}[runtime]\nseed = 3\n", "runtime.seed cannot be set"),
        ("data = [", "no study: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"study\.toml: .*{says}") as caught:
        read_study(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_utf8_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_bytes(f"# Pr\xfcfung\n{DATA}{PAA}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"study\.toml: no study: .*utf-8") as caught:
        read_study(file)
    assert "\n" not in str(caught.value)


def test_all_paths_of_a_data_set_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(f"{DATA}allow_outside = ['../photos', '/absolute']\n{PAA}")
    values = read_study(file).data[0].values
    assert values["allow_outside"] == [str(tmp_path / "../photos"), "/absolute"]


def test_unknown_fields_of_groups_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(SMALL.replace("channels", "chanels") + PAA)
    study = read_study(file)
    with pytest.raises(ConfigError, match=r"study\.toml: unknown option model\.chanels"):
        config_of(study, cells_of(study)[0])
    with pytest.raises(ConfigError, match="no such file of a study"):
        read_study(tmp_path / "nowhere.toml")
