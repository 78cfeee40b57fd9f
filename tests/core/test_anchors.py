from __future__ import annotations

import pytest
import torch

from paa.core.anchors import STRIDES, make_anchors

SIZES = ((5, 7), (3, 4), (2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize(("offset", "shift"), [(0.5, 0.0), (0.5, 0.5), (0.0, 0.0)])
def test_one_square_anchor_per_cell_levels_in_order(offset: float, shift: float) -> None:
    anchors = make_anchors(SIZES, offset=offset, shift=shift)
    expected = [
        [centre_x - 4 * stride, centre_y - 4 * stride, centre_x + 4 * stride, centre_y + 4 * stride]
        for (rows, columns), stride in zip(SIZES, STRIDES)
        for row in range(rows)
        for column in range(columns)
        for centre_x, centre_y in [((column + offset) * stride + shift, (row + offset) * stride + shift)]
    ]
    assert anchors.dtype == torch.float32
    assert anchors.tolist() == expected


def test_new_models_anchors() -> None:
    anchors = make_anchors(SIZES)
    assert len(anchors) == 35 + 12 + 4 + 1 + 1
    assert anchors[0].tolist() == [-28.0, -28.0, 36.0, 36.0]  # 64 x 64 around (4, 4)
    assert anchors[1].tolist() == [-20.0, -28.0, 44.0, 36.0]  # along the row first
    assert anchors[7].tolist() == [-28.0, -20.0, 36.0, 44.0]
    assert anchors[-1].tolist() == [-448.0, -448.0, 576.0, 576.0]


def test_of_the_seed_and_of_mmdetection() -> None:
    # the seed's inclusive (-28, -28, 35, 35) + 1/2, as a continuous box half a pixel further
    assert make_anchors(SIZES, shift=0.5)[0].tolist() == [-27.5, -27.5, 36.5, 36.5]
    assert make_anchors(SIZES, offset=0.0)[0].tolist() == [-32.0, -32.0, 32.0, 32.0]


def test_other_strides_and_a_wrong_number_of_levels() -> None:
    assert make_anchors([(1, 2)], [4]).tolist() == [[-14.0, -14.0, 18.0, 18.0], [-10.0, -14.0, 22.0, 18.0]]
    with pytest.raises(ValueError, match="zip"):
        make_anchors(SIZES[:4])


def test_a_scale_gives_anchors_of_that_many_strides_at_the_same_centres() -> None:
    usual, small = make_anchors(SIZES), make_anchors(SIZES, scale=4)
    torch.testing.assert_close(usual[:, :2] + usual[:, 2:], small[:, :2] + small[:, 2:])
    torch.testing.assert_close(2 * (small[:, 2:] - small[:, :2]), usual[:, 2:] - usual[:, :2])
