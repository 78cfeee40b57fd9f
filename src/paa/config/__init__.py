"""The types of a configuration: frozen, built once at the edge, never passed on as a bag."""

from paa.config.data import DataConfig, FetchConfig, LoadingConfig, WorkerConfig, data_name
from paa.config.inference import CANDIDATE_THRESHOLD, InferenceConfig, MultiScaleConfig, TilesConfig
from paa.config.model import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, ModelConfig, check_model, model_config
from paa.config.names import (
    AssignerName,
    Compilation,
    DataFormat,
    FileTransfer,
    LoggerName,
    Precision,
    PredictionOutput,
    WeightsFormat,
)
from paa.config.training import (
    AugmentConfig,
    CardConfig,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    TrainTilesConfig,
    ValidationConfig,
)
from paa.config.values import flat, to_dict

__all__ = [
    "CAFFE_MEAN",
    "CANDIDATE_THRESHOLD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AssignerName",
    "AugmentConfig",
    "CardConfig",
    "Compilation",
    "DataConfig",
    "DataFormat",
    "FetchConfig",
    "FileTransfer",
    "InferenceConfig",
    "LoadingConfig",
    "LoggerName",
    "ModelConfig",
    "MultiScaleConfig",
    "Precision",
    "PredictionOutput",
    "Recipe",
    "RuntimeConfig",
    "ScheduleConfig",
    "TilesConfig",
    "TrainTilesConfig",
    "ValidationConfig",
    "WeightsFormat",
    "WorkerConfig",
    "check_model",
    "data_name",
    "flat",
    "model_config",
    "to_dict",
]
