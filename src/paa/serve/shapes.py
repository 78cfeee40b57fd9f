"""The JSON that the endpoint takes and returns, and the options in its address."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from paa.detections import Detections


class Detection(BaseModel):
    """One object that was found."""

    box: Annotated[tuple[float, float, float, float], Field(description="x1, y1, x2, y2, pixels of the image as shown")]
    score: Annotated[float, Field(ge=0, le=1)]
    label: Annotated[int, Field(description="the class's position among the classes of /health")]
    name: Annotated[str, Field(description="the class")]


class ImageResult(BaseModel):
    """What was found in one image, best first."""

    file: Annotated[str, Field(description="the name of the file, or the URL")]
    width: Annotated[int, Field(description="pixels, as shown: after the EXIF orientation has turned the image")]
    height: int
    detections: list[Detection]


class Predictions(BaseModel):
    """What was found, in the order of the images."""

    images: list[ImageResult]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: Annotated[str, Field(description="one line")]


class Health(BaseModel):
    """What the server is."""

    status: Annotated[str, Field(description="ready, or closing, with status code 503")]
    model: Annotated[str, Field(description="the name of the model's file")]
    classes: tuple[str, ...]
    device: str
    version: Annotated[str, Field(description="of this project")]


class Options(BaseModel):
    """What is asked for beside the images; a name that is none of these is an error."""

    model_config = ConfigDict(extra="forbid")

    threshold: Annotated[
        float | None,
        Field(ge=0, le=1, description="least score, 0 or from that of candidates on; default: that of paa serve"),
    ] = None
    classes: Annotated[list[str], Field(description="only these classes; given once for each; default: all")] = []
    voting: Annotated[bool | None, Field(description="score voting; default: that of paa serve")] = None


def image_result(file: str, size: tuple[int, int], detections: Detections) -> ImageResult:
    """Return the detections in an image of (height, width) `size` as they are answered."""
    found = [Detection(**values) for values in detections.to_dicts()]
    return ImageResult(file=file, width=size[1], height=size[0], detections=found)
