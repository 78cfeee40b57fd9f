"""What names of files and folders say about splits: train, val, test, and the words in use for them."""

from __future__ import annotations

import re

SYNONYMS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
SPLIT_NAMES = tuple(name for names in SYNONYMS for name in names)

_SPLITS = {word: names[0] for names in SYNONYMS for name in names for word in (name, f"{name}set")}
_ANNOTATIONS = frozenset(
    {
        *("annotation", "annotations", "annot", "annots", "anno", "annos", "ann", "anns"),
        *("label", "labels", "json", "jsons", "gt", "groundtruth"),
    }
)
_IMAGES = frozenset({"image", "images", "img", "imgs", "jpegimages", "jpg", "png", "data", "set", "split", "files"})


def words(name: str) -> list[str]:
    """Return the words of a name in small letters: "my_trainLabels2017" is my, train, labels."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def split_names(split: str) -> tuple[str, ...]:
    """Return the split's name and the others in use for it, the one asked for first."""
    for names in SYNONYMS:
        if split in names:
            return (split, *(name for name in names if name != split))
    return (split,)


def main_name(split: str) -> str:
    """Return the name that stands for all synonyms of a split ("valid": "val"); a name of one's own is itself."""
    return _SPLITS.get(split.lower(), split)


def splits_in(name: str) -> frozenset[str]:
    """Return the splits, of train, val and test, that a name contains as words; "trainval" is both."""
    found = set()
    for word in words(name):
        found |= {"train", "val"} if word == "trainval" else {_SPLITS[word]} if word in _SPLITS else set()
    return frozenset(found)


def is_split_folder(name: str) -> bool:
    """Return whether a folder's name says a split and nothing else that matters: "train2017", "images_val"."""
    return bool(splits_in(name)) and all(word in _IMAGES | _ANNOTATIONS or splits_in(word) for word in words(name))


def has_annotation_word(name: str) -> bool:
    """Return whether a folder's name has a word for annotations."""
    return not _ANNOTATIONS.isdisjoint(words(name))


def is_annotation_folder(name: str) -> bool:
    """Return whether a folder's name says that it holds annotations, and nothing else that matters."""
    return has_annotation_word(name) and all(
        word in _ANNOTATIONS | {"coco", "files"} or splits_in(word) for word in words(name)
    )
