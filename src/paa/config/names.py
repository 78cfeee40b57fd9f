"""The words that an option can have: formats, rules, precisions, outputs."""

from __future__ import annotations

from typing import Literal

DataFormat = Literal["coco", "voc", "yolo"]
"""Formats of data sets: those of `paa.data.read.FORMATS`."""

FileTransfer = Literal["copy", "link", "hardlink"]
"""How image files get into a new data set: as copies, symbolic links to the files, or hard links."""

WeightsFormat = Literal["paa", "seed", "official", "mmdet", "caffe2", "torchvision", "timm"]
"""Formats of files of weights: those of `paa.weights.read.FORMATS`."""

Precision = Literal["float32", "bfloat16", "auto"]
"""Precision of the network; bfloat16: by autocast; auto: bfloat16 where the device has instructions for it."""

PredictionOutput = Literal["images", "coco", "yolo", "csv", "parquet"]

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
"""Where the numbers of a run may go beside its log.jsonl: one file of `paa/training/loggers` each."""

AssignerName = Literal["paa", "highest-iou", "centre-sampling", "atss", "simota", "task-aligned", "one-to-one"]
"""Assignment rules: those of `paa.assigners.ASSIGNERS`."""

Compilation = Literal["off", "default", "reduce-overhead", "max-autotune"]
"""torch.compile's modes; reduce-overhead uses CUDA graphs."""
