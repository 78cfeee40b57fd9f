"""PAA with the interface of torchvision's detection models, for training scripts that were written for such models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, WeightsEnum

from paa.config import InferenceConfig, ModelConfig, check_model
from paa.core import Assigner, LossWeights, PaaAssigner, paa_losses
from paa.data.batch import collate
from paa.data.transforms import resize, resized_size
from paa.errors import AnnotationError, ConfigError, ImageError
from paa.model.detector import PADDING
from paa.predictor import PAA, load
from paa.runtime.distributed import Process
from paa.torchvision_heads import pad_targets
from paa.weights.read import read_start
from paa.weights.start import load_start, starting_model

_LAYERS = 5  # layers of a backbone: the stem and four stages
_NUM_CLASSES = 91  # torchvision's default: COCO's category ids, and 0

Target = Mapping[str, Tensor]
"""The objects of one image: `boxes` (n, 4), xyxy pixels of the image as given, and `labels` (n,) from 0."""


class TorchvisionDetector(nn.Module):
    """A PAA model with the inputs and outputs of the models in `torchvision.models.detection`.

    Images are a list of RGB tensors (3, H, W), floats from 0 to 1 or uint8, each of its own size; the model
    resizes them to its min_size and max_size. In training mode `model(images, targets)` returns the losses
    `classification`, `box` and `iou`, to be summed. Targets are a list of dictionaries with `boxes` (n, 4),
    xyxy pixels with x1 < x2 and y1 < y2, and `labels` (n,), integers; n may be 0, and other entries are ignored. In
    evaluation mode `model(images)` returns for each image a dictionary of `boxes`, `labels` and `scores`, best first,
    in the image's pixels: the detections of `PAA.predict`, under the model's `inference`.

    Labels go from 0 to num_classes - 1, as in torchvision's FCOS and RetinaNet: none is reserved for the background. A
    script that counts its classes from 1, with the background as class 0, works unchanged; class 0 is never detected
    then. Under DistributedDataParallel the losses are normalised over all processes, as in the paper.
    """

    def __init__(
        self, model: PAA, *, assigner: Assigner = PaaAssigner(), loss_weights: LossWeights = LossWeights()
    ) -> None:
        """model: trained in place; `model.save` writes it to a file. assigner, loss_weights: as for `paa_losses`.

        ConfigError where one of them is of another kind.
        """
        super().__init__()
        if not isinstance(model, PAA):
            raise ConfigError(f"model must be a PAA model, as paa.load returns it, got {model!r}")
        if isinstance(assigner, type) or not callable(assigner):
            raise ConfigError(f"assigner must be a rule, as paa.assigners.AtssAssigner(), got {assigner!r}")
        self.model, self.assigner, self.loss_weights = model, assigner, loss_weights

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return the losses in training mode, the detections in evaluation mode.

        ImageError or AnnotationError for invalid images or targets.
        """
        images = list(images)
        _check_images(images)
        if not self.training:
            return self._detections(images)
        if targets is None:
            raise AnnotationError("training mode needs targets; call model.eval() for detections")
        if not images:
            raise ImageError("a training step needs at least one image")
        _check_targets(targets, len(images))
        return self._losses(images, targets)

    def _detections(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        results = []
        for image, found in zip(images, self.model.predict(images, batch_size=max(1, len(images)))):
            columns = {"boxes": found.boxes, "labels": found.labels, "scores": found.scores}
            results.append({name: torch.from_numpy(column).to(image.device) for name, column in columns.items()})
        return results

    def _losses(self, images: list[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        model, config, device = self.model, self.model.config, self.model.mean.device
        boxes = [target["boxes"].to(device, torch.float32) for target in targets]
        labels = [target["labels"].to(device, torch.int64) for target in targets]
        _check_values(images, boxes, labels, len(model.names))
        for i, image in enumerate(images):
            size = resized_size(image.shape[1], image.shape[2], config.min_size, config.max_size)
            images[i], boxes[i] = resize(_to_uint8(image.to(device)), boxes[i], size, config.legacy)
        batch, sizes = collate(images, multiple=PADDING)
        outputs = model(batch, sizes.to(device))
        return paa_losses(
            outputs,
            model.anchors(outputs),
            *pad_targets([{"boxes": own, "labels": classes} for own, classes in zip(boxes, labels)]),
            assigner=self.assigner,
            weights=self.loss_weights,
            legacy=config.legacy,
            average=_mean_over_processes,
        ).losses


def paa_resnet50_fpn(
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    weights_backbone: str | Path | WeightsEnum | None = "torchvision/resnet50.IMAGENET1K_V1",
    trainable_backbone_layers: int | None = None,
    min_size: int = 800,
    max_size: int = 1333,
    score_thresh: float = InferenceConfig.threshold,
    nms_thresh: float = InferenceConfig.nms_iou,
    detections_per_img: int = InferenceConfig.max_detections,
) -> TorchvisionDetector:
    """Return a PAA model with a ResNet-50, in place of `torchvision.models.detection.fcos_resnet50_fpn`.

    weights: a checkpoint of any implementation of PAA, or a name as `mmdet/r50_mstrain_3x`; it decides the backbone,
    the classes and the sizes of images. Otherwise the model is new. For a new model: num_classes, 91 by default;
    weights_backbone: a file, `torchvision/NAME` or a member of torchvision's ResNet50_Weights (downloaded at the first
    use), or None for random weights; min_size, max_size: pixels of the short side, and at most of the long side, of
    resized images.
    trainable_backbone_layers: how many of the backbone's five layers are trained, from the last on; by default 3, and 5
    with random weights.
    score_thresh, nms_thresh, detections_per_img: the least score of a detection, the IoU above which NMS removes the
    worse of two boxes, the most detections of an image. CheckpointError for weights that cannot be read or do not fit,
    ConfigError for an invalid value.
    """
    pretrained = weights is not None or weights_backbone is not None
    layers = trainable_backbone_layers if trainable_backbone_layers is not None else 3 if pretrained else _LAYERS
    if not isinstance(layers, Integral) or not 0 <= layers <= _LAYERS:
        raise ConfigError(f"trainable_backbone_layers must be from 0 to {_LAYERS}, got {layers}")
    if weights is None:
        classes = _NUM_CLASSES if num_classes is None else num_classes
        if not isinstance(classes, Integral) or classes < 1:
            raise ConfigError(f"num_classes must be a whole number from 1 on, got {classes!r}")
        model = _new_model(classes, weights_backbone, min_size, max_size)
    else:
        model = load(weights, "cpu")
        if num_classes not in (None, len(model.names)):
            raise ConfigError(f"{weights}: has {len(model.names)} classes, but num_classes is {num_classes}")
    model.inference = replace(
        model.inference, threshold=score_thresh, nms_iou=nms_thresh, max_detections=detections_per_img
    )
    model.freeze(_LAYERS - layers)
    return TorchvisionDetector(model).train()


def _new_model(num_classes: int, backbone: str | Path | WeightsEnum | None, min_size: int, max_size: int) -> PAA:
    """Return a model with random weights, except for a pre-trained backbone's."""
    config = ModelConfig(min_size=min_size, max_size=max_size, norm="batch" if backbone is None else "frozen")
    check_model(config)
    names = tuple(f"class {label}" for label in range(num_classes))
    if backbone is None:
        return PAA(config, names)
    if isinstance(backbone, WeightsEnum) and not isinstance(backbone, ResNet50_Weights):
        raise ConfigError(f"weights_backbone must be of a ResNet-50, got {backbone}")
    source = f"torchvision/resnet50.{backbone.name}" if isinstance(backbone, WeightsEnum) else str(backbone)
    start = read_start(source, config.backbone)
    model = PAA(starting_model(start, config, chosen=("backbone",))[0], names)
    load_start(model, start)
    return model


def _check_images(images: Sequence[Tensor]) -> None:
    """Raise ImageError for the first image of a wrong shape or type."""
    for i, image in enumerate(images):
        shape = tuple(image.shape) if isinstance(image, Tensor) else ()
        if len(shape) != 3 or shape[0] != 3 or 0 in shape:
            given = f"shape {shape}" if isinstance(image, Tensor) else type(image).__name__
            raise ImageError(f"images[{i}] must be a tensor (3, H, W), got {given}")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ImageError(f"images[{i}] must hold floats from 0 to 1, or uint8, got {image.dtype}")


def _check_targets(targets: Sequence[Target], num_images: int) -> None:
    """Raise AnnotationError for the first target without the right entries, shapes and types."""
    if len(targets) != num_images:
        raise AnnotationError(f"{num_images} images, but {len(targets)} targets: one is needed for each image")
    for i, target in enumerate(targets):
        if not isinstance(target, Mapping):
            raise AnnotationError(f"targets[{i}] must be a dictionary, got {type(target).__name__}")
        for name in ("boxes", "labels"):
            if name not in target:
                keys = ", ".join(sorted(map(str, target))) or "none"
                raise AnnotationError(f"targets[{i}] must have a tensor {name!r}; its keys are: {keys}")
            if not isinstance(target[name], Tensor):
                raise AnnotationError(f"targets[{i}][{name!r}] must be a tensor, got {type(target[name]).__name__}")
        boxes, labels = target["boxes"], target["labels"]
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise AnnotationError(f"targets[{i}]['boxes'] must be of shape (n, 4), got {tuple(boxes.shape)}")
        if labels.shape != boxes.shape[:1] or labels.is_floating_point():
            raise AnnotationError(
                f"targets[{i}]['labels'] must be {len(boxes)} integers, as there are {len(boxes)} boxes, got shape "
                f"{tuple(labels.shape)} of {labels.dtype}"
            )


def _check_values(images: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor], num_classes: int) -> None:
    """Raise ImageError or AnnotationError for invalid values; the host waits for a GPU once."""
    wrong_images = [_out_of_range(image) for image in images]
    wrong_boxes = [((own[:, 2:] <= own[:, :2]).any(1) | ~own.isfinite().all(1)) for own in boxes]
    wrong_labels = [(own < 0) | (own >= num_classes) for own in labels]
    device = labels[0].device
    flags = [flag.any().to(device) for column in (wrong_images, wrong_boxes, wrong_labels) for flag in column]
    if not torch.stack(flags).any():
        return
    for i, (image, wrong_image, wrong_box, wrong_label) in enumerate(
        zip(images, wrong_images, wrong_boxes, wrong_labels)
    ):
        if wrong_image:
            low, high = image.aminmax()
            raise ImageError(f"images[{i}] must hold floats from 0 to 1, got {low:g} to {high:g}")
        for row in wrong_box.nonzero()[:1, 0]:
            raise AnnotationError(
                f"targets[{i}]['boxes'][{row}] must be x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, got "
                f"{boxes[i][row].tolist()}"
            )
        for row in wrong_label.nonzero()[:1, 0]:
            raise AnnotationError(
                f"targets[{i}]['labels'][{row}] must be from 0 to {num_classes - 1} in a model of {num_classes} "
                f"classes, got {labels[i][row]}"
            )


def _out_of_range(image: Tensor) -> Tensor:
    """Return a bool tensor (): whether an image of floats leaves 0 to 1 by more than interpolation overshoots."""
    if not image.is_floating_point():
        return torch.tensor(False)
    low, high = image.aminmax()
    return ~((low >= -0.01) & (high <= 1.01))  # NaN is out of range too


def _to_uint8(image: Tensor) -> Tensor:
    """Return an image of floats from 0 to 1 as uint8, as `PAA.predict` rounds it."""
    if not image.is_floating_point():
        return image
    return image.float().clamp(0, 1).mul(255).round().to(torch.uint8)


def _mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes of torch.distributed; for one process, the tensor itself."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return Process(values.device, world=world).mean(values)
