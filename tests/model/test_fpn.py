import pytest
import torch

from paa.model.fpn import FeaturePyramid


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 2)])
def test_bfloat16_on_the_smallest_maps(size: tuple[int, int]) -> None:
    """A few columns are what coarse levels of small images have; some CPUs' bfloat16 kernels fail on them."""
    pyramid = FeaturePyramid((32, 32, 32), 256, p7_relu=True)
    height, width = size
    for seed in range(4):
        torch.manual_seed(seed)
        features = tuple(torch.randn(2, 32, height * scale, width * scale) for scale in (4, 2, 1))
        for _ in range(4):  # poison the memory that is handed out next
            torch.full((1 << 20,), float("nan"))
        with torch.autocast("cpu", torch.bfloat16):
            p6, p7 = pyramid(features)[3:]
        expected = pyramid(features)[3:]
        assert torch.allclose(p6.float(), expected[0], atol=0.1)
        assert torch.allclose(p7.float(), expected[1], atol=0.1)
        pyramid.zero_grad()
        (p6.square().mean() + p7.square().mean()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in pyramid.parameters())
