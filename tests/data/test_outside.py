"""Paths and links in a data set that lead outside of its folder are refused, unless the person names the folder."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paa.config import DataConfig
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.read_report import ReadReport
from paa.errors import DataError, ImageError
from paa.training.run_data import read_data
from tests.data.data_files import box, shared, write_image
from tests.data.formats.coco.coco_files import coco_file, images
from tests.data.formats.voc.voc_files import write_note
from tests.data.formats.yolo.yolo_files import ROW

BOXES = [box(1, 1, (4, 5, 20, 10), 1)]
YAML = "train: {}\nnames: [cat, dog]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a data set, with an image of its own; beside it a folder, `far`, with an image and a label."""
    write_image(tmp_path / "far" / "secret.png", 48, 64)
    (tmp_path / "far" / "secret.txt").write_text("root:x:0:0\n")
    write_image(tmp_path / "set" / "images" / "a.png", 48, 64)
    (tmp_path / "set" / "labels").mkdir()
    (tmp_path / "set" / "labels" / "a.txt").write_text(ROW)
    return tmp_path / "set"


def coco(root: Path, name: str) -> None:
    coco_file(root / "train.json", images("images/a.png", name), BOXES)


def coco_name(name: str) -> Callable[[Path], None]:
    return lambda root: coco(root, name.format(far=root.parent / "far"))


def coco_linked_image(root: Path) -> None:
    (root / "images" / "b.png").symlink_to(root.parent / "far" / "secret.png")
    coco(root, "b.png")


def coco_linked_folder(root: Path) -> None:
    (root / "photos").symlink_to("../far")
    coco(root, "secret.png")


def coco_linked_annotations(root: Path) -> None:
    coco_file(root.parent / "far" / "train.json", images("a.png"), BOXES)
    (root / "train.json").symlink_to("../far/train.json")


def note(file: Path) -> None:
    """Write a VOC annotation of an image 64 wide and 48 high."""
    write_note(file)
    file.write_text(file.read_text().replace("<width>80", "<width>64").replace("<height>60", "<height>48"))


def voc(root: Path) -> None:
    note(root / "Annotations" / "a.xml")
    note(root / "Annotations" / "b.xml")


def voc_linked_image(root: Path) -> None:
    (root / "images" / "b.png").symlink_to("../../far/secret.png")
    voc(root)


def voc_linked_annotation(root: Path) -> None:
    voc(root)
    (root / "Annotations" / "b.xml").unlink()
    (root / "Annotations" / "b.xml").symlink_to("../../far/secret.txt")


def yolo(train: str, text: str = "") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "data.yaml").write_text(YAML.format(train.format(far=root.parent / "far")))
        (root / "list.txt").write_text(text.format(far=root.parent / "far"))

    return make


def yolo_path(path: str) -> Callable[[Path], None]:
    return lambda root: (root / "data.yaml").write_text(
        f"path: {path.format(far=root.parent / 'far')}\n{YAML.format('.')}"
    )


def yolo_names(root: Path) -> None:
    (root / "data.yaml").write_text("train: images\nnames: ../far/secret.txt\n")


def yolo_linked_image(root: Path) -> None:
    (root / "images" / "b.png").symlink_to("../../far/secret.png")
    yolo("images")(root)


def yolo_linked_folder(root: Path) -> None:
    (root / "images" / "more").symlink_to("../../far")
    yolo("images")(root)


def yolo_linked_label(root: Path) -> None:
    write_image(root / "images" / "b.png", 48, 64)
    (root / "labels" / "b.txt").symlink_to("../../far/secret.txt")
    yolo("images")(root)


REFUSED: dict[str, Callable[[Path], Any]] = {
    "coco ..": coco_name("../far/secret.png"),
    "coco .. further in": coco_name("images/../../far/secret.png"),
    "coco absolute": coco_name("{far}/secret.png"),
    "coco backslashes": coco_name(r"..\far\secret.png"),
    "coco linked image": coco_linked_image,
    "coco linked folder": coco_linked_folder,
    "coco linked annotations": coco_linked_annotations,
    "voc linked image": voc_linked_image,
    "voc linked annotation": voc_linked_annotation,
    "yolo folder": yolo("../far"),
    "yolo absolute folder": yolo("{far}"),
    "yolo image": yolo("../far/secret.png"),
    "yolo list": yolo("list.txt", "images/a.png\n../far/secret.png\n"),
    "yolo absolute list": yolo("list.txt", "images/a.png\n{far}/secret.png\n"),
    "yolo list outside": yolo("../far/secret.txt"),
    "yolo path": yolo_path("../far"),
    "yolo absolute path": yolo_path("{far}"),
    "yolo names": yolo_names,
    "yolo linked image": yolo_linked_image,
    "yolo linked folder": yolo_linked_folder,
    "yolo linked label": yolo_linked_label,
}
"""What leads to the folder `far`, which the option then allows."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the real paths of what was opened or listed so far."""
    paths: list[str] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            paths.append(os.path.realpath(path) if isinstance(path, (str, Path)) else "")
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "scandir", watched(os.scandir))
    monkeypatch.setattr(Path, "open", watched(Path.open))
    monkeypatch.setattr(builtins, "open", watched(open))
    return paths


@pytest.mark.parametrize("case", REFUSED)
def test_what_leads_outside_is_refused(root: Path, opened: list[str], case: str) -> None:
    REFUSED[case](root)
    far = str(root.parent / "far")
    opened.clear()
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert f"leads outside of the data set, to {far}" in message
    assert f"to allow it, --allow-outside {far}" in message
    assert "root:x" not in message
    assert opened
    assert not [path for path in opened if path.startswith(far)]
    assert not [path for path in opened if path.startswith(far)]


@pytest.mark.parametrize("case", [case for case in REFUSED if case != "yolo names" and "label" not in case])
def test_the_option_allows_a_folder(root: Path, case: str) -> None:
    REFUSED[case](root)
    far = root.parent / "far"
    if case == "yolo list outside":
        (far / "secret.txt").write_text(f"{root}/images/a.png\n")
    elif case == "voc linked annotation":
        (root / "images" / "b.png").symlink_to("a.png")
        note(far / "secret.xml")
        (root / "Annotations" / "b.xml").unlink()
        (root / "Annotations" / "b.xml").symlink_to("../../far/secret.xml")
    else:
        (far / "secret.txt").write_text(ROW)
    index = read_dataset(root, allow_outside=[far])
    if case not in ("coco linked annotations", "yolo list outside", "voc linked annotation"):
        assert f"{far}/secret.png" in names_of(index)
    with pytest.raises(DataError):
        read_dataset(root, allow_outside=[root / "labels"])  # another folder does not help
    assert names_of(read_data(DataConfig(root, allow_outside=(Path("/"),)), False).train) == names_of(index)


@pytest.mark.parametrize(
    "case", ["coco ..", "coco linked image", "yolo list", "yolo linked image", "yolo linked label"]
)
@pytest.mark.parametrize("detailed", [False, True])
def test_it_is_left_out_as_other_bad_items_are(root: Path, case: str, detailed: bool) -> None:
    REFUSED[case](root)
    report = ReadReport(skip_bad=True, detailed=detailed)
    assert names_of(read_dataset(root, report=report)) == [f"{root}/images/a.png"]
    assert any("--allow-outside" in line for line in report.left_out)


def names_of(index: DatasetIndex) -> list[str]:
    """Return the real paths of an index's images."""
    return sorted(os.path.realpath(index.path(i)) for i in range(len(index)))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "http://host/secret.png",
            "file:///etc/passwd",
            "C:\\secret.png",
            "C:secret.png",
            "\\\\host\\far\\secret.png",
        ),
        *("/etc/passwd", "~/secret.png", "%2e%2e/far/secret.png", "../" * 40 + "etc/passwd", "a\0.png", "x" * 5000),
    ],
)
def test_other_names_find_nothing(root: Path, opened: list[str], name: str) -> None:
    coco(root, name)
    for case in ("coco", "yolo"):
        opened.clear()
        with pytest.raises(DataError) as caught:
            read_dataset(root)
        assert len(str(caught.value).splitlines()) == 1
        assert opened
        assert not [path for path in opened if path.startswith(("/etc", str(root.parent / "far")))]
        if case == "coco":
            (root / "train.json").unlink()
            yolo("list.txt", f"images/a.png\n{name}\n".replace("{", ""))(root)


def test_what_lies_inside_is_read_however_it_is_named(root: Path) -> None:
    """Absolute, by links inside the data set, and by a link to the data set as a whole."""
    write_image(root / "store" / "b.png", 48, 64)
    write_image(root / "images" / "c.png", 48, 64)
    (root / "images" / "b.png").symlink_to("../store/b.png")
    (root / "also").symlink_to("images")
    link = root.parent / "link"
    link.symlink_to("set")
    coco_file(root / "train.json", images(f"{root}/images/a.png", "b.png", f"{link}/images/c.png"), BOXES)
    for given in (root, link, root / "train.json", link / "train.json"):
        expected = [f"{root}/images/a.png", f"{root}/images/c.png", f"{root}/store/b.png"]
        assert names_of(read_dataset(given)) == expected
    (root / "train.json").unlink()
    yolo("list.txt", f"{root}/images/a.png\n{link}/images/c.png\n./images/b.png\n")(root)
    assert len(read_dataset(link)) == 3


def test_the_folder_of_images_that_a_person_names_is_allowed(root: Path) -> None:
    coco_file(root / "train.json", images("secret.png"), BOXES)
    with pytest.raises(DataError, match="images not found"):
        read_dataset(root)
    assert names_of(read_dataset(root, images=root.parent / "far")) == [f"{root.parent}/far/secret.png"]


def test_the_named_folder_of_images_comes_before_places_outside(root: Path) -> None:
    yolo("{far}")(root)
    assert names_of(read_dataset(root, images=root / "images")) == [f"{root}/images/a.png"]


def test_a_path_upwards_of_roboflow_does_not_follow_a_link(root: Path) -> None:
    (root / "train").symlink_to("../far")
    yolo("../train")(root)
    with pytest.raises(DataError):
        read_dataset(root)


def test_the_folder_above_annotations_belongs_to_the_data_set(root: Path) -> None:
    path = coco_file(root / "annotations" / "train.json", images("../images/a.png"), BOXES)
    for given in (path, path.parent, root):
        assert names_of(read_dataset(given)) == [f"{root}/images/a.png"]


def test_links_that_nothing_needs_do_not_matter(root: Path) -> None:
    (root / "checkpoints").symlink_to("../far")
    (root / "README.md").symlink_to("../far/secret.txt")
    (root / "dangling").symlink_to("../nothing")
    coco_file(root / "train.json", images("a.png"), BOXES)
    report = ReadReport()
    assert len(read_dataset(root, report=report)) == 1
    assert not [line for line in report.warnings + report.left_out if "outside" in line]


def test_a_folder_that_does_not_exist_cannot_be_allowed(root: Path) -> None:
    coco_file(root / "train.json", images("a.png"), BOXES)
    with pytest.raises(DataError, match=r"nowhere: no such folder \(--allow-outside\)"):
        read_dataset(root, allow_outside=[root / "nowhere"])


def test_a_cached_index_is_not_taken_where_its_folder_is_no_longer_allowed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paa.data import cache

    monkeypatch.setenv("PAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SMALLEST", 0)
    monkeypatch.setattr(cache, "_SETTLED", -(10**18))
    coco(root, "../far/secret.png")
    for _ in range(2):
        assert len(read_dataset(root, allow_outside=[root.parent])) == 2
        with pytest.raises(ImageError, match="--allow-outside"):
            read_dataset(root)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", ["bccd", "raccoon", "cards", "microcontrollers"])
def test_real_sets_lead_nowhere(name: str) -> None:
    assert len(read_dataset(shared(name))) > 10
