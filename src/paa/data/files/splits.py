"""What the names of files and folders say about splits: train, val, test, and other words for them."""

from __future__ import annotations

import re

from paa.data.files.image_folders import IMAGE_FOLDERS

SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
SPLIT_NAMES = tuple(name for names in SYNONYMS for name in names)

_ENDINGS = ("", "set", "image", "images", "img", "imgs", "zip")  # "trainset", "valimages"
_SPLITS = {f"{name}{ending}": names[0] for names in SYNONYMS for name in names for ending in _ENDINGS}
_OTHER_SPLITS = {f"{name}{ending}": name for name in ("trainval", "dev", "eval") for ending in _ENDINGS}
_ANNOTATIONS = frozenset(
    {
        *("annotation", "annotations", "annot", "annots", "anno", "annos", "ann", "anns"),
        *("label", "labels", "json", "jsons", "gt", "groundtruth"),
    }
)
_IMAGES = frozenset({*IMAGE_FOLDERS, "jpg", "png", "set", "split", "files", "zip"})


def words(name: str) -> list[str]:
    """Return the words of a name in lower case: "my_trainLabels2017" is my, train, labels."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def split_names(split: str) -> tuple[str, ...]:
    """Return the split's name and the other words for it, the given name first."""
    for names in SYNONYMS:
        if split in names:
            return (split, *(name for name in names if name != split))
    return (split,)


def main_name(split: str) -> str:
    """Return the name that stands for all words for a split: "val" for "valid"; any other name is returned as it is."""
    return _SPLITS.get(split.lower(), split)


def splits_in(name: str) -> frozenset[str]:
    """Return the splits, of train, val and test, that a name contains as words; "trainval" has train and val."""
    found = {_SPLITS.get(word) or _OTHER_SPLITS.get(word) for word in words(name)}
    both = {"train", "val"} if "trainval" in found else set()
    return frozenset({split for names in SYNONYMS if (split := names[0]) in found | both})


def split_of(name: str) -> str | None:
    """Return the split that a folder is named as: "val" for "val2017", "Validation" and "images_val".

    None for a name without a split ("images"), with several, or with any other word ("cats_train"). Words for images
    and numbers do not matter.
    """
    splits = {_SPLITS.get(word) or _OTHER_SPLITS.get(word) for word in words(name) if word not in _IMAGES}
    if splits == {"train", "val"}:
        return "trainval"
    return splits.pop() if len(splits) == 1 else None


def is_split(name: str, split: str) -> bool:
    """Return whether a folder of this name holds the split."""
    return name.lower() == split.lower() or split_of(name) == main_name(split.lower())


def is_other_split(name: str, split: str) -> bool:
    """Return whether a folder of this name holds another split."""
    return split_of(name) is not None and not is_split(name, split)


def has_annotation_word(name: str) -> bool:
    """Return whether a folder's name has a word for annotations."""
    return not _ANNOTATIONS.isdisjoint(words(name))


def is_annotation_folder(name: str) -> bool:
    """Return whether a folder's name says that it holds annotations, perhaps of a split, and nothing else."""
    return has_annotation_word(name) and all(
        word in _ANNOTATIONS | {"coco", "files"} or splits_in(word) for word in words(name)
    )
