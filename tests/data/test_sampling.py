from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from paa.data.augment import TrainTransform
from paa.data.sampling import TrainBatches, global_batches
from paa.errors import ConfigError
from tests.data.data_files import make_index

TRANSFORM = TrainTransform((40, 60), 90, scale_jitter=(0.5, 1.5))


def classes(tall: int, wide: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(tall + wide) < tall)


@pytest.mark.parametrize(("tall", "wide"), [(40, 57), (97, 0), (0, 16), (30, 8), (23, 1), (3, 2), (1, 0), (8, 8)])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_image_equally_often(tall: int, wide: int, seed: int) -> None:
    size, aspect = 8, classes(tall, wide)
    batches = list(islice(global_batches(aspect, size, seed), 200))
    assert all(len(batch) == size for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=len(aspect))
    # an image waits for at most two batches of its class, so for that many of its epochs
    assert counts.max() - counts.min() <= 1 + -(-2 * size // min(x for x in (tall, wide, 99) if x))
    if min(tall, wide) >= size:
        assert all(len(set(aspect[batch].tolist())) == 1 for batch in batches)


def test_within_an_epoch_nothing_is_repeated() -> None:
    batches = list(islice(global_batches(classes(40, 60), 10, 0), 10))
    assert Counter(np.concatenate(batches).tolist()).most_common(1)[0][1] == 1  # 40 and 60 divide by 10
    batches = list(islice(global_batches(classes(43, 64), 10, 0), 10))
    assert Counter(np.concatenate(batches).tolist()).most_common(1)[0][1] == 1
    assert all(len(set(batch.tolist())) >= 6 for batch in islice(global_batches(classes(43, 64), 10, 0), 100))


def test_epochs_and_seeds_differ() -> None:
    aspect = classes(0, 40)
    batches = list(islice(global_batches(aspect, 8, 0), 10))
    assert sorted(np.concatenate(batches[:5]).tolist()) == sorted(np.concatenate(batches[5:]).tolist())
    assert np.concatenate(batches[:5]).tolist() != np.concatenate(batches[5:]).tolist()
    assert next(global_batches(aspect, 8, 1)).tolist() != batches[0].tolist()


def test_classes_are_mixed_over_an_epoch() -> None:
    aspect = classes(400, 400)
    kinds = [bool(aspect[batch[0]]) for batch in islice(global_batches(aspect, 8, 0), 100)]
    assert 30 < sum(a != b for a, b in pairwise(kinds)) < 90


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_the_same_global_batches(tmp_path: Path, world: int) -> None:
    index = make_index(tmp_path, [(30, 40)] * 9 + [(40, 30)] * 10)
    whole = list(TrainBatches(index, TRANSFORM, 8, 5, 20))
    parts = [list(TrainBatches(index, TRANSFORM, 8, 5, 20, rank=rank, world=world)) for rank in range(world)]
    for step, plan in enumerate(whole):
        shares = [part[step] for part in parts]
        assert sum((share.positions for share in shares), ()) == plan.positions
        assert sum((share.seeds for share in shares), ()) == plan.seeds
        assert {share.size for share in shares} == {plan.size}
        assert plan.size[0] % 32 == plan.size[1] % 32 == 0


@pytest.mark.parametrize("start", [0, 1, 7, 19, 20])
def test_resumes_anywhere(tmp_path: Path, start: int) -> None:
    index = make_index(tmp_path, [(30, 40)] * 9 + [(40, 30)] * 10)
    whole = list(TrainBatches(index, TRANSFORM, 4, 5, 20))
    rest = TrainBatches(index, TRANSFORM, 4, 5, 20, start_step=start)
    assert len(rest) == 20 - start
    assert list(rest) == whole[start:]
    assert len({seed for plan in whole for seed in plan.seeds}) == 80


def test_resuming_late_is_quick(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)])
    start = perf_counter()
    assert len(list(TrainBatches(index, TRANSFORM, 16, 0, 20_001, start_step=20_000))) == 1
    assert perf_counter() - start < 5


def test_refuses(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)])
    for batch_size, seed in ((0, 0), (3, 0), (4, -1)):
        with pytest.raises(ConfigError):
            TrainBatches(index, TRANSFORM, batch_size, seed, 10, world=2)
