"""The two Gaussians of an object's scores, as people read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paa.explanation.mixture import ObjectMixture, fit_objects


def test_separation_is_the_distance_in_standard_deviations() -> None:
    assert ObjectMixture((0.5, 0.5), (1.0, 4.0), (1.0, 1.0)).separation == pytest.approx(3.0)
    assert ObjectMixture((0.5, 0.5), (1.0, 4.0), (0.25, 0.75)).separation == pytest.approx(3 / np.sqrt(0.5))
    assert ObjectMixture((0.5, 0.5), (2.0, 2.0), (1.0, 1.0)).separation == 0


def test_cuts() -> None:
    mixture = ObjectMixture((0.5, 0.5), (1.0, 3.0), (0.1, 0.1))
    scores = [0.5, 0.9, 1.2, 1.9, 2.1, 3.0]
    assert mixture.cuts(scores) == {"foreground": 4, "low-mean": 2, "middle": 4}
    narrow = ObjectMixture((0.9, 0.1), (1.0, 3.0), (0.4, 0.01))
    assert narrow.cuts(scores) == {"foreground": 5, "low-mean": 2, "middle": 4}


def test_densities_are_weighted_and_integrate_to_one() -> None:
    mixture = ObjectMixture((0.3, 0.7), (1.0, 3.0), (0.1, 0.4))
    x = np.linspace(-3, 9, 4001)
    assert (mixture.densities(x).sum(1) * (x[1] - x[0])).tolist() == pytest.approx([0.3, 0.7])


def test_one_candidate_or_none_has_no_mixture() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.9], [0.1, torch.inf, torch.inf], [torch.inf] * 3])
    fitted, *others = fit_objects(scores, torch.tensor([3, 1, 0]))
    assert fitted is not None
    assert fitted.means[0] < fitted.means[1]
    assert others == [None, None]
