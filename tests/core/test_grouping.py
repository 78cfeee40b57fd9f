from __future__ import annotations

import pytest
import torch

from paa.core.grouping import best_per_group


def brute_force(group: list[int], score: list[float], num_groups: int, k: int, largest: bool) -> list[list[int]]:
    sign = -1 if largest else 1
    return [
        sorted((i for i, g in enumerate(group) if g == wanted), key=lambda i: (sign * score[i], i))[:k]
        for wanted in range(num_groups)
    ]


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("members", [0, 1, 5, 400])
@pytest.mark.parametrize("num_groups", [0, 1, 7, 60])
@pytest.mark.parametrize("k", [0, 1, 9, 500])
def test_is_the_sorted_loop(largest: bool, members: int, num_groups: int, k: int) -> None:
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        group = torch.randint(num_groups + 1, (members,), generator=random)  # num_groups: in none
        score = torch.rand(members, generator=random) * 10
        if seed == 1:  # many ties
            score = (score / 2).round()
        chosen, valid = best_per_group(group, score, num_groups, k, largest)
        assert chosen.shape == valid.shape == (num_groups, k)
        ours = [row[ok].tolist() for row, ok in zip(chosen, valid)]
        assert ours == brute_force(group.tolist(), score.tolist(), num_groups, k, largest)
        assert (valid.int().diff(dim=1) <= 0).all()  # valid ones first
        if members:
            assert ((chosen >= 0) & (chosen < members)).all()  # safe to index with, valid or not


def test_order_of_all_kinds_of_numbers() -> None:
    score = torch.tensor([3e38, 0.0, 1e-45, 1e-38, 1.0, torch.inf, 1.0000001, 0.5])
    expected = [1, 2, 3, 7, 4, 6, 0, 5]
    group = torch.zeros(8, dtype=torch.int64)
    assert best_per_group(group, score, 1, 8, largest=False)[0][0].tolist() == expected
    assert best_per_group(group, score, 1, 8, largest=True)[0][0].tolist() == expected[::-1]


def test_groups_do_not_affect_each_other() -> None:
    """The best of one group does not push out another's, however extreme."""
    group = torch.tensor([2, 0, 2, 1, 3])
    score = torch.tensor([torch.inf, 3e38, 0.0, 1e-30, 0.0])
    chosen, valid = best_per_group(group, score, 3, 2, largest=True)
    assert valid.tolist() == [[True, False], [True, False], [True, True]]
    assert [chosen[0, 0].item(), chosen[1, 0].item(), *chosen[2].tolist()] == [1, 3, 0, 2]
