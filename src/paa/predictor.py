"""The detector that a user works with: load it, predict with it, save it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from typing_extensions import Self

from paa.config import (
    Compilation,
    InferenceConfig,
    ModelConfig,
    MultiScaleConfig,
    Precision,
    TilesConfig,
    WeightsFormat,
)
from paa.detections import Detections
from paa.errors import CheckpointError, ConfigError, one_line
from paa.export.choose import is_exported, open_exported
from paa.export.detector import ExportedDetector
from paa.export.session import ExportedGraph
from paa.inference.predict import predict
from paa.inference.sources import Source
from paa.model.cpu.convolutions import keep_kernels
from paa.model.detector import Detector
from paa.model.prepare import compile_network, prepare_for_device, resolve_precision
from paa.runtime.device import pick_device
from paa.runtime.files import write_text
from paa.runtime.hub import PyTorchModelHubMixin, hf_hub_download
from paa.weights.card import CARD_FILE, card_beside, card_of_model
from paa.weights.formats.own import write_model
from paa.weights.read import build, read_weights

HUB_FILE = "model.safetensors"
"""The model in a folder or repository of the Hugging Face hub."""


class PAA(
    Detector,
    PyTorchModelHubMixin,
    library_name="paa",
    pipeline_tag="object-detection",
    paper_url="https://arxiv.org/abs/2007.08103",
):
    """A detector that takes files, PIL images, arrays or tensors and returns `Detections`.

    inference: the configuration of predictions; arguments of `predict` override it. provenance: the file that the
    weights came from, its format, and what a converted file says of its origin. card: the model card beside that file,
    None without one; `save_pretrained` and `push_to_hub` write it.
    """

    def __init__(self, config: ModelConfig, names: tuple[str, ...]) -> None:
        """names: the classes, in the order of the labels (from 0)."""
        super().__init__(config, names)
        self.provenance: dict[str, str] = {}
        self.card: str | None = None
        self.inference = InferenceConfig()
        self.optimised = False

    def optimise(self, precision: Precision = "auto", compile: Compilation = "off") -> Self:
        """Make predictions faster, in place and for good: the weights can neither be changed nor saved afterwards.

        Frozen batch norm becomes part of the convolutions' weights. precision: "float32", "bfloat16", or "auto", which
        is bfloat16 where the device has instructions for it. compile: a mode of torch.compile, which takes minutes at
        the first image and again for other sizes; "reduce-overhead" (CUDA graphs) is for images of few sizes.
        """
        precision = resolve_precision(precision, self.mean.device)
        self.inference = replace(self.inference, precision=precision, compile=compile)
        self.optimised = True
        self.eval().requires_grad_(False)
        self.backbone.fold()
        prepare_for_device(self, channels_last=True, fast_convolutions=compile == "off" and precision == "float32")
        keep_kernels(self)
        compile_network(self, compile)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy weights into the model; CheckpointError after `optimise`, which makes the weights constant."""
        if self.optimised:
            raise CheckpointError("an optimised model cannot load other weights; load them before `optimise`")
        return super().load_state_dict(state_dict, strict, assign)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is a sequence of strings, but is taken as a path
        self,
        source: Source,
        *,
        threshold: float | None = ...,
        limit: int | None = ...,
        voting: bool | None = ...,
        nms_iou: float | None = ...,
        candidate_threshold: float | None = ...,
        multi_scale: bool | MultiScaleConfig | None = ...,
        tiles: int | TilesConfig | None = ...,
        batch_size: int = ...,
    ) -> Detections: ...
    @overload
    def predict(
        self,
        source: Sequence[Source],
        *,
        threshold: float | None = ...,
        limit: int | None = ...,
        voting: bool | None = ...,
        nms_iou: float | None = ...,
        candidate_threshold: float | None = ...,
        multi_scale: bool | MultiScaleConfig | None = ...,
        tiles: int | TilesConfig | None = ...,
        batch_size: int = ...,
    ) -> list[Detections]: ...
    def predict(
        self,
        source: Source | Sequence[Source],
        *,
        threshold: float | None = None,
        limit: int | None = None,
        voting: bool | None = None,
        nms_iou: float | None = None,
        candidate_threshold: float | None = None,
        multi_scale: bool | MultiScaleConfig | None = None,
        tiles: int | TilesConfig | None = None,
        batch_size: int = 1,
    ) -> Detections | list[Detections]:
        """Return the detections of an image, or of each of a list of images.

        source: a path, a PIL image, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in
        0..1, or a list of these. Arrays and tensors are RGB; OpenCV's are BGR: `array[:, :, ::-1]`.

        Arguments that are None keep the model's `inference`, whose defaults are given here. threshold: least score of a
        detection, 0. limit: most detections of an image, 100. voting: score voting, True. nms_iou: a box is removed
        when a better one of its class overlaps it by more than this, 0.6. candidate_threshold: class probability (in
        MMDetection's models, score) above which an anchor takes part in NMS and voting, 0.05 or a threshold between 0
        and 0.05. multi_scale: detect at several sizes and mirrored too, those of the official code (True) or of the
        given configuration, and merge; False. tiles: look at images in overlapping tiles of this many pixels a side, or
        as the configuration says, for small objects in large images; 0 for none, the default. batch_size: images of the
        same padded size at a time. ImageError if an image cannot be read, ConfigError for an invalid value.
        """
        given: dict[str, Any] = {
            "threshold": threshold,
            "max_detections": limit,
            "voting": voting,
            "nms_iou": nms_iou,
            "candidate_threshold": candidate_threshold,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if multi_scale is not None:
            changes["views"] = MultiScaleConfig() if multi_scale is True else multi_scale or None
        if tiles is not None:
            changes["tiles"] = tiles if isinstance(tiles, TilesConfig) else TilesConfig(tiles) if tiles else None
        config = replace(self.inference, **changes)
        several = isinstance(source, (list, tuple))
        sources: Sequence[Source] = source if several else [source]  # type: ignore[assignment,list-item]
        found = [detections for _, detections in predict(self, sources, config, batch_size=batch_size)]
        return found if several else found[0]

    def save(self, path: str | Path) -> None:
        """Write the model to one file that `load` reads, named `*.safetensors`; CheckpointError for another name."""
        self._check_can_be_saved(path)
        write_model(Path(path), self.config, self.names, self.state_dict(), self.provenance)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model, its config.json and its card to a folder, as the hub has them.

        options: of `huggingface_hub.ModelHubMixin`. CheckpointError for the folder of a training run, which has files
        of these names, and after `optimise`.
        """
        self._check_can_be_saved(save_directory)
        if (Path(save_directory) / "log.jsonl").exists():
            raise CheckpointError(f"{save_directory}: has a training run, whose config.json would be lost")
        pushed: str | None = super().save_pretrained(save_directory, **options)
        return pushed

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload what `save_pretrained` writes to a repository of the hub, and return its address.

        options: of `huggingface_hub.ModelHubMixin`. CheckpointError, before there is a repository, after `optimise`.
        """
        self._check_can_be_saved(repo_id)
        address: str = super().push_to_hub(repo_id, **options)
        return address

    def _check_can_be_saved(self, place: str | Path) -> None:
        if self.optimised:
            raise CheckpointError(f"{place}: an optimised model cannot be saved; save it before `optimise`")

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the model file for `save_pretrained` and `push_to_hub`, and the card, which they make without one."""
        self.save(save_directory / HUB_FILE)
        if self.card is not None:
            write_text(save_directory / CARD_FILE, card_of_model(self.card, HUB_FILE, self.provenance.get("file")))

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin's takes any keyword, and wants a config.json
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> PAA:
        """Return the model in a folder or hub repository that `save_pretrained` or `push_to_hub` wrote.

        device: as for `load`; the other arguments are for the hub. CheckpointError if there is no such folder or
        repository, or if the hub cannot be reached.
        """
        name = str(pretrained_model_name_or_path)
        path = Path(name) / HUB_FILE
        if not path.parent.is_dir():
            try:
                path = Path(
                    hf_hub_download(
                        name,
                        HUB_FILE,
                        revision=revision,
                        token=token,
                        cache_dir=cache_dir,
                        local_files_only=local_files_only,
                        force_download=force_download,
                    )
                )
            except (OSError, ValueError, ImportError) as error:  # the hub's errors are among the first two
                raise CheckpointError(f"{name}: no such folder, and as a repository: {one_line(error)}") from error
        return load(path, device)


class ExportedPAA(ExportedDetector, PAA):
    """The model in a file of `paa export`: it predicts as its checkpoint does, without PyTorch's network.

    The settings in its graph are those of `inference` here; others are a ConfigError. It computes with ONNX Runtime,
    OpenVINO or, compiled ahead, as machine code.
    """

    def __init__(self, graph: ExportedGraph) -> None:
        super().__init__(graph)
        self.provenance = {"file": graph.path.name, **graph.description.provenance}
        self.card, self.frozen_stages = None, 0
        self.inference = graph.description.settings.inference()
        self.optimised = True

    def optimise(self, precision: Precision = "auto", compile: Compilation = "off") -> Self:
        """Do nothing: an exported model is optimised; ConfigError for bfloat16 or a mode of torch.compile."""
        if precision == "bfloat16" or compile != "off":
            raise ConfigError(f"{self.graph.path}: an exported model computes in float32, uncompiled")
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Raise CheckpointError: an exported model has no weights."""
        raise CheckpointError(f"{self.graph.path}: an exported model cannot load other weights")

    def _check_can_be_saved(self, place: str | Path) -> None:
        """Raise CheckpointError: an exported model has no weights."""
        raise CheckpointError(f"{place}: an exported model cannot be saved: copy {self.graph.path}")


def load(path: str | Path, device: str | None = None, *, format: WeightsFormat | None = None) -> PAA:
    """Return the model in a checkpoint of any implementation of PAA, or in a file of `paa export`, ready to predict.

    path: a file, or the name of one of MMDetection's models on COCO, which is fetched at its first use, as
    `mmdet/r50_mstrain_3x` (`paa weights` lists them). device: cpu, cuda, ...; by default a GPU if there is one. format:
    detected from the file unless given. CheckpointError for a file that is not such a checkpoint, or a model that
    cannot be fetched.
    """
    if not isinstance(path, (str, Path)):
        raise ConfigError(f"path must be a file or a name, got {path!r}")
    chosen = pick_device(device)
    if is_exported(Path(path)):
        if format is not None:
            raise ConfigError(f"{path}: an exported model, not a checkpoint in the format {format}")
        return ExportedPAA(open_exported(Path(path), cuda=chosen.type == "cuda"))
    weights = read_weights(Path(path), format)
    model = build(weights, str(path), PAA)
    model.provenance = dict(weights.provenance)
    model.card = card_beside(Path(path))
    model.to(chosen)
    prepare_for_device(model, channels_last=True, fast_convolutions=True)
    return model
