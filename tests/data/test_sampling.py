from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from paa.config import AugmentConfig
from paa.data.augment import Geometry, TrainTransform
from paa.data.index import DatasetIndex
from paa.data.sampling import (
    Sampling,
    TrainBatches,
    eval_batches,
    global_batches,
    largest_size,
    repeat_factors,
)
from paa.data.transforms import Resize
from paa.errors import ConfigError
from tests.data.data_files import make_index

TRANSFORM = TrainTransform(AugmentConfig((40, 60), 90, scale_jitter=(0.5, 1.5)))


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
    assert Counter(np.concatenate(batches).tolist()).most_common(1)[0][1] == 1  # 10 divides 40 and 60
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


def labelled(folder: Path, *labels: list[int], crowd: int = 0) -> DatasetIndex:
    """Return an index of images with one box of each of these labels; the first `crowd` boxes are of crowds."""
    index = make_index(folder, [(30, 40)] * len(labels), boxes_each=1)
    rows = np.concatenate(labels).astype(np.int64)
    return replace(
        index,
        offsets=np.concatenate([[0], np.cumsum([len(each) for each in labels])]),
        boxes=np.tile(index.boxes[:1], (len(rows), 1)),
        labels=rows,
        crowd=np.arange(len(rows)) < crowd,
        areas=np.ones(len(rows), np.float32),
        names=("common", "rare", "nowhere"),
        category_ids=np.arange(3),
    )


def test_repeat_factors(tmp_path: Path) -> None:
    """Of the paper's formula: sqrt(t / f) for the rarest class of an image, and 1 for images without a rare class."""
    index = labelled(tmp_path, [0], [0, 1, 1], [0], [], [0], [0], [0], [0], [0], [0])  # rare: 0.1, common: 0.9
    assert repeat_factors(index, 0.4).tolist() == pytest.approx([1, 2, *[1] * 8])
    assert repeat_factors(index, 0.1).tolist() == pytest.approx([1] * 10)
    assert repeat_factors(index, 1.0).tolist() == pytest.approx(
        [f := math.sqrt(1 / 0.9), math.sqrt(10), f, 1, f, f, f, f, f, f]
    )
    of_crowds = labelled(tmp_path, [1], [0], [0], [0], crowd=1)
    assert repeat_factors(of_crowds, 0.5).tolist() == [1, 1, 1, 1]


def test_mosaics_in_all_but_the_last_fifth_of_a_run(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)] * 20)
    transform = TrainTransform(AugmentConfig((40,), 90, mosaic=0.3))
    sampling = Sampling(8, 200)
    plans = list(TrainBatches(index, transform, sampling))
    made = [others for plan in plans[:160] for others in plan.mosaics if others]
    assert 0.25 < len(made) / (8 * 160) < 0.35
    assert all(len(others) == 3 for others in made)
    assert {position for others in made for position in others} == set(range(20))
    assert all(plan.mosaics == ((),) * 8 for plan in plans[160:])
    # neither the number of processes nor the step of a resumption changes them
    halves = [list(TrainBatches(index, transform, sampling, rank, 2)) for rank in (0, 1)]
    assert [a.mosaics + b.mosaics for a, b in zip(*halves)] == [plan.mosaics for plan in plans]
    resumed = TrainBatches(index, transform, replace(sampling, start_step=77))
    assert [plan.mosaics for plan in resumed] == [plan.mosaics for plan in plans[77:]]
    # and they change neither which images are taken nor how these are changed
    without = list(TrainBatches(index, TrainTransform(AugmentConfig((40,), 90)), sampling))
    assert [(p.positions, p.seeds, p.size) for p in without] == [(p.positions, p.seeds, p.size) for p in plans]


@pytest.mark.parametrize(("tall", "wide"), [(40, 57), (97, 0), (3, 2)])
def test_images_are_repeated_as_their_factors_say(tall: int, wide: int) -> None:
    aspect, size, epochs = classes(tall, wide), 8, 300
    factors = np.where(np.arange(len(aspect)) % 5 == 0, 2.3, 1.0)
    batches = list(islice(global_batches(aspect, size, 3, factors), int(epochs * factors.sum() / size)))
    counts = np.bincount(np.concatenate(batches), minlength=len(aspect)) / epochs
    assert counts == pytest.approx(factors, rel=0.1)
    if min(tall, wide) >= size:
        assert all(len(set(aspect[batch].tolist())) == 1 for batch in batches)
    again = islice(global_batches(aspect, size, 3, factors), len(batches))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again))


def test_factors_of_one_are_each_image_once() -> None:
    batches = list(islice(global_batches(classes(40, 60), 10, 0, np.ones(100)), 10))
    assert sorted(np.concatenate(batches).tolist()) == list(range(100))


def test_repeated_images_in_a_resumed_run_of_two_processes(tmp_path: Path) -> None:
    index = labelled(tmp_path, *[[0]] * 18, [0, 1])
    transform = TrainTransform(AugmentConfig((40, 60), 90, repeat_threshold=0.3))
    whole = list(TrainBatches(index, transform, Sampling(4, steps=60, seed=5)))
    counts = Counter(position for plan in whole for position in plan.positions)
    assert counts[18] > 1.8 * max(counts[position] for position in range(18))
    rest = [list(TrainBatches(index, transform, Sampling(4, 60, 17, 5), rank, 2)) for rank in (0, 1)]
    assert [a.positions + b.positions for a, b in zip(*rest)] == [plan.positions for plan in whole[17:]]


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5, 8])
def test_processes_share_the_same_global_batches(tmp_path: Path, world: int) -> None:
    index = make_index(tmp_path, [(30, 40)] * 9 + [(40, 30)] * 10)
    sampling = Sampling(8, steps=20, seed=5)
    whole = list(TrainBatches(index, TRANSFORM, sampling))
    parts = [list(TrainBatches(index, TRANSFORM, sampling, rank, world)) for rank in range(world)]
    for step, plan in enumerate(whole):
        shares = [part[step] for part in parts]
        assert sum((share.positions for share in shares), ()) == plan.positions
        assert sum((share.seeds for share in shares), ()) == plan.seeds
        assert {len(share.positions) for share in shares} == {8 // world, -(-8 // world)}
        assert {share.size for share in shares} == {plan.size}
        assert plan.size[0] % 32 == plan.size[1] % 32 == 0


@pytest.mark.parametrize(("world", "parts"), [(1, 2), (1, 8), (2, 2), (1, 3), (2, 3), (3, 2)])
def test_the_parts_of_a_step_are_padded_alike(tmp_path: Path, world: int, parts: int) -> None:
    index = make_index(tmp_path, [(30, 40)] * 9 + [(40, 30)] * 10)
    for rank in range(world):
        shares = list(TrainBatches(index, TRANSFORM, Sampling(8, steps=20, seed=5), rank, world))
        plans = TrainBatches(index, TRANSFORM, Sampling(8, steps=20, start_step=3, seed=5, parts=parts), rank, world)
        assert len(plans) == 17 * parts
        for share, *of_step in zip(shares[3:], *[iter(plans)] * parts, strict=True):
            assert {len(plan.positions) for plan in of_step} <= {8 // (world * parts), -(-8 // (world * parts))}
            assert sum((plan.positions for plan in of_step), ()) == share.positions
            assert sum((plan.seeds for plan in of_step), ()) == share.seeds
            assert {plan.size for plan in of_step} == {share.size}


def test_no_batch_is_larger_than_the_largest(tmp_path: Path) -> None:
    """Sides are rounded where images are resized: a long one may exceed its cap."""
    for sizes, transform in (
        ([(201, 1920)] * 3 + [(204, 1920), (300, 1920)] * 2, TrainTransform(AugmentConfig((480,), 800))),
        ([(30, 40)] * 9 + [(40, 30)] * 10, TrainTransform(AugmentConfig((40, 60), 90))),
    ):
        index = make_index(tmp_path, sizes)
        height, width = largest_size(index, transform, 4)
        plans = TrainBatches(index, transform, Sampling(4, steps=50))
        assert max(plan.size[0] * plan.size[1] for plan in plans) == height * width


@pytest.mark.parametrize("start", [0, 1, 7, 19, 20])
def test_resumes_anywhere(tmp_path: Path, start: int) -> None:
    index = make_index(tmp_path, [(30, 40)] * 9 + [(40, 30)] * 10)
    whole = list(TrainBatches(index, TRANSFORM, Sampling(4, steps=20, seed=5)))
    rest = TrainBatches(index, TRANSFORM, Sampling(4, steps=20, start_step=start, seed=5))
    assert len(rest) == 20 - start
    assert list(rest) == whole[start:]
    assert len({seed for plan in whole for seed in plan.seeds}) == 80


def test_resuming_draws_nothing_for_earlier_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(TrainTransform, "draw", lambda *_: drawn.append(1) or Geometry((32, 32), (0, 0, 32, 32), False))
    index = make_index(tmp_path, [(30, 40)])
    assert len(list(TrainBatches(index, TRANSFORM, Sampling(16, steps=2001, start_step=2000)))) == 1
    assert len(drawn) == 16


def test_invalid_batch_sizes_and_seeds(tmp_path: Path) -> None:
    index = make_index(tmp_path, [(30, 40)])
    for batch_size, seed in ((0, 0), (1, 0), (4, -1)):
        with pytest.raises(ConfigError):
            TrainBatches(index, TRANSFORM, Sampling(batch_size, steps=10, seed=seed), world=2)
    with pytest.raises(ConfigError, match="a batch of 4 images cannot be shared by 2 processes in 3 parts"):
        TrainBatches(index, TRANSFORM, Sampling(4, steps=10, parts=3), world=2)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_batches_have_one_padded_size(tmp_path: Path, batch_size: int) -> None:
    sizes = [(30, 40)] * 5 + [(40, 30)] * 6 + [(20, 70), (30, 41)]
    plans = eval_batches(make_index(tmp_path, sizes), Resize(40, 90), batch_size)
    assert sorted(position for plan in plans for position in plan.positions) == list(range(len(sizes)))
    assert all(len(plan.positions) <= batch_size for plan in plans)
    for plan in plans:
        for position in plan.positions:
            height, width = Resize(40, 90).size_of(*sizes[position])
            assert plan.size == (-(-height // 32) * 32, -(-width // 32) * 32)
    if batch_size == 4:
        assert sorted(len(plan.positions) for plan in plans) == [1, 4, 4, 4]  # twelve of 64 x 64, one of 32 x 96
