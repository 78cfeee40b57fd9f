"""The average of a detector's weights, by hand and by torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from paa.config import ModelConfig
from paa.model.detector import Detector
from paa.training.average import WeightAverage

MODEL = ModelConfig(backbone="resnet18", norm="batch", channels=8, tower_depth=1)


def move(detector: Detector, random: torch.Generator) -> None:
    """Change every trained weight and all of batch norm's buffers, as a step does."""
    with torch.no_grad():
        for parameter in detector.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=random)
        for buffer in detector.buffers():
            buffer += torch.randint(1, 5, buffer.shape, generator=random)


def test_the_decay_is_warmed_up() -> None:
    detector, random = Detector(MODEL, ("a",)), torch.Generator().manual_seed(0)
    detector.freeze(2)
    average = WeightAverage(detector, 0.5)
    expected = {name: tensor.double() for name, tensor in detector.state_dict().items()}
    decays = []
    for updates in range(12):
        move(detector, random)
        average.update(updates)
        decays.append(min(0.5, (1 + updates) / (10 + updates)))
        for name, tensor in detector.state_dict().items():
            share = decays[-1] if tensor.is_floating_point() else 0.0  # counts are copied
            expected[name] = share * expected[name] + (1 - share) * tensor
    assert decays[0] == 0.1
    assert decays[7] < decays[8] == decays[-1] == 0.5
    state = average.detector.state_dict()
    for name, tensor in state.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5, msg=name)
    assert state["backbone.bn1.num_batches_tracked"].dtype == torch.int64
    for name, parameter in detector.named_parameters():
        assert torch.equal(parameter, state[name]) != parameter.requires_grad, name


def test_the_average_is_that_of_torch() -> None:
    """With the full decay from the start, and except for the counters, which torch averages too."""
    detector, random = Detector(MODEL, ("a",)), torch.Generator().manual_seed(1)
    ours = WeightAverage(detector, 0.9)
    torchs = AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    torchs.update_parameters(detector)  # the first is a copy
    for _ in range(5):
        move(detector, random)
        ours.update(10**9)
        torchs.update_parameters(detector)
    theirs = torchs.module.state_dict()
    for name, tensor in ours.detector.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_the_copy(norm: str) -> None:
    """Has the detector's memory format, is ready to detect, and is not trained; the detector stays as it was."""
    detector = Detector(ModelConfig(backbone="resnet18", norm=norm, channels=8, tower_depth=1), ("a",))
    detector.to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    average = WeightAverage(detector, 0.9)
    average.update(0)
    assert not average.detector.training
    assert not any(parameter.requires_grad for parameter in average.detector.parameters())
    assert detector.training
    assert all(parameter.requires_grad for parameter in detector.parameters())
    for name, tensor in average.detector.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(detector.state_dict()[name], before[name])
        assert tensor.stride() == detector.state_dict()[name].stride()
        assert tensor.data_ptr() != detector.state_dict()[name].data_ptr()
