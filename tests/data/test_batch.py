from __future__ import annotations

from pathlib import Path

import torch

from paa.data.batch import collate, make_batch, padded_size
from tests.data.data_files import make_index


def test_collate() -> None:
    images = [torch.full((3, 20, 40), 7, dtype=torch.uint8), torch.full((3, 33, 10), 9, dtype=torch.uint8)]
    padded, sizes = collate(images)
    assert padded.shape == (2, 3, 64, 64)
    assert sizes.tolist() == [[20, 40], [33, 10]]
    assert padded[0].sum() == 7 * 3 * 20 * 40
    assert padded[1, :, :33, :10].unique().tolist() == [9]
    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert collate(images, size=(40, 50))[0].shape == (2, 3, 40, 50)
    assert collate(images, multiple=1)[0].shape == (2, 3, 33, 40)


def test_padded_size() -> None:
    assert padded_size([(33, 64), (10, 65)]) == (64, 96)
    assert padded_size([(33, 64)], multiple=1) == (33, 64)


def test_ground_truth_is_padded(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40), (20, 70), (64, 32)])
    images = [torch.full((3, 20, 24), value, dtype=torch.uint8) for value in (5, 6)]
    few, many = torch.rand(1, 4), torch.rand(9, 4)
    samples = [(images[0], few, torch.tensor([3])), (images[1], many, torch.arange(9))]
    batch = make_batch(index, [2, 0], samples, (32, 64))
    assert batch.images.shape == (2, 3, 32, 64)
    assert batch.sizes.tolist() == [[20, 24], [20, 24]]
    assert batch.positions.tolist() == [2, 0]
    assert batch.original_sizes.tolist() == [[64, 32], [30, 40]]
    assert batch.gt_boxes.shape == (2, 16, 4)
    assert batch.gt_labels.tolist() == [[3] + [-1] * 15, [*range(9)] + [-1] * 7]
    assert torch.equal(batch.gt_boxes[0, :1], few)
    assert torch.equal(batch.gt_boxes[1, :9], many)
    assert not batch.gt_boxes[0, 1:].any()
    empty = make_batch(index, [1], [(images[0], torch.zeros(0, 4), torch.zeros(0))], (32, 32))
    assert empty.gt_labels.tolist() == [[-1] * 8]


def test_a_batch_moves_to_a_device(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)])
    image = torch.full((3, 30, 40), 7, dtype=torch.uint8)
    batch = make_batch(index, [0], [(image, torch.rand(1, 4), torch.tensor([3]))], (32, 64))
    moved = batch.to(torch.device("meta"))
    used = ("images", "sizes", "gt_boxes", "gt_labels")
    assert all(getattr(moved, name).is_meta == (name in used) for name in vars(batch))
    for name, tensor in vars(batch.to(torch.device("cpu"))).items():
        assert torch.equal(tensor, getattr(batch, name)), name
