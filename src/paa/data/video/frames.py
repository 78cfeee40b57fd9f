"""The frames of a video file or a camera, one at a time: as they are shown, with their times."""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from paa.data.images.decoders import max_pixels
from paa.data.images.rgb import Rgb
from paa.data.read_report import counted
from paa.data.video.recognise import camera_number
from paa.errors import ConfigError, ImageError, one_line
from paa.runtime.extras import not_installed
from paa.runtime.urls import nothing_at

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,flv,asf,ogg,mxf,nut,dv,ivf"
"""FFmpeg's names of the formats that are read. Others of its formats are lists of other files and of URLs."""
_STATES_ITS_LENGTH = ("mov", "matroska", "avi", "flv", "asf")
_SLACK, _SLACK_WITH_SOUND = 0.5, 3.0  # seconds by which a whole video may be shorter than it, or its sound, says


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    image (H, W, 3): uint8 RGB, turned as the video says. index: its number, counted from 0 over all frames of the
    video. time: seconds since the video's first frame.
    """

    image: Rgb
    index: int
    time: float


def frames(source: str | Path, every: int = 1) -> Iterator[Frame]:
    """Yield the frames of a video file or a camera, one at a time, so that a video of any length fits in memory.

    source: a file, or `camera:0` (/dev/video0), whose frames end when the camera does. every: 2 yields the first frame
    and each second one after it. Damaged parts are left out, and so is all after the place where a file cannot be read
    on; ImageError then comes after the last frame, as it does at once for a file that is no video. ConfigError
    unless `every` is a whole number of at least 1.
    """
    if isinstance(every, bool) or not isinstance(every, Integral) or every < 1:
        raise ConfigError(f"--every must be a whole number of at least 1, got {every!r}")
    number = camera_number(str(source))
    return _frames_of_file(Path(source), every) if number is None else _frames_of_camera(number, every)


def expected_frames(path: Path, every: int = 1) -> int | None:
    """Return how many frames `frames` will probably yield of a file, as the file says; None where it does not say."""
    try:
        with _opened(path) as (container, stream):
            seconds, rate = _stated_seconds(container, stream)[0], stream.average_rate
            count = stream.frames or (None if seconds is None or not rate else round(seconds * rate))
    except ImageError:
        return None
    return None if count is None else math.ceil(count / every)


@dataclass
class _Progress:
    """How far the video of this name was read: its number of frames, the last one's time, and what could not be read.

    start: the first frame's time as the file has it, from which the other times count. end: the time until which the
    last frame is shown. damaged: the times at which a damaged part was left out. error: what ended the video, if not
    its end.
    """

    name: str
    frames: int = 0
    start: float = 0.0
    time: float = 0.0
    end: float = 0.0
    damaged: list[float] = field(default_factory=list)
    error: str | None = None


def _frames_of_file(path: Path, every: int) -> Iterator[Frame]:
    progress = _Progress(str(path))
    with _opened(path) as (container, stream):
        yield from _read(container, stream, every, progress)
        stated, slack = _stated_seconds(container, stream)
    if progress.frames and progress.error is None and stated is not None and _longest(progress) < stated - slack:
        progress.error = f"its end is missing, as it says that it lasts {stated:.2f} s"
    _raise_if_incomplete(progress)


def _frames_of_camera(number: int, every: int) -> Iterator[Frame]:
    progress = _Progress(f"camera:{number}")
    av = _pyav(progress.name)
    format, device = _device(number)
    try:
        container = av.open(device, format=format)
    except (av.error.FFmpegError, OSError) as error:
        raise ImageError(f"{progress.name}: {device} cannot be opened: {_words(error)}") from error
    with container:
        yield from _read(container, container.streams.video[0], every, progress)
    _raise_if_incomplete(progress)


def _device(number: int) -> tuple[str, str]:
    """Return FFmpeg's format and file of a camera; ImageError for a camera that is not there."""
    if sys.platform != "linux":
        raise ImageError(f"camera:{number}: cameras are read on Linux only, through video4linux2")
    device = Path(f"/dev/video{number}")
    if not device.exists():
        there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
        others = f"there are {', '.join(f'camera:{each}' for each in there)}" if there else "no camera is connected"
        raise ImageError(f"camera:{number}: there is no {device}; {others}")
    return "v4l2", str(device)


def _read(container: Any, stream: Any, every: int, progress: _Progress) -> Iterator[Frame]:
    """Yield the frames that can be decoded, and write down in `progress` how far that went."""
    for decoded in _decoded(container, stream, progress):
        index = progress.frames
        if decoded.time is not None:
            if not index:
                progress.start = decoded.time
            progress.time = decoded.time - progress.start
        elif index:  # some formats have no times
            progress.time = progress.end
        shown = float(decoded.duration * decoded.time_base) if decoded.duration and decoded.time_base else 0.0
        progress.end = progress.time + (shown or 1 / float(stream.average_rate or 25))
        progress.frames += 1
        if decoded.width * decoded.height > max_pixels():
            size = f"{decoded.width} x {decoded.height}"
            raise ImageError(f"{progress.name}: has frames of {size} pixels; --max-pixels N reads them")
        if index % every == 0:
            yield Frame(_as_shown(decoded), index, progress.time)


def _decoded(container: Any, stream: Any, progress: _Progress) -> Iterator[Any]:
    """Yield PyAV's frames; a packet that cannot be decoded is left out, and what cannot be demultiplexed ends them."""
    av = _pyav(progress.name)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            progress.error = _words(error)
            return
        if packet is None:
            return
        try:
            decoded = packet.decode()
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError):
            if progress.frames:  # a recording may begin in the middle of what a frame needs
                progress.damaged.append(progress.time)
            continue
        yield from decoded


def _as_shown(frame: Any) -> Rgb:
    """Return a frame of PyAV as RGB bytes, turned and mirrored as its display matrix says, by right angles."""
    image: Rgb = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # a point (x, y) is shown at (x_x x + x_y y, y_x x + y_y y), y pointing down
    x_x, y_x, _, x_y, y_y = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(y_x) > abs(x_x):  # the sides are exchanged
        image, x_x, y_y = image.transpose(1, 0, 2), x_y, y_x
    return np.ascontiguousarray(image[:: -1 if y_y < 0 else 1, :: -1 if x_x < 0 else 1])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the container of a video file and its video stream; ImageError for what is no video."""
    av = _pyav(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(nothing_at(path, "video")) from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        try:
            container = av.open(file, options={"format_whitelist": _FORMATS})
        except (av.error.FFmpegError, OSError) as error:
            empty = path.stat().st_size == 0
            what = "an empty file" if empty else "not a video that can be read, or one whose end is missing"
            raise ImageError(f"{path}: {what}") from error
        with container:
            cover = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams:
                raise ImageError(f"{path}: has no video, only sound or text")
            yield container, streams[0]


def _longest(progress: _Progress) -> float:
    """Return how long what was read lasts at most: some formats count from 0, others from the first frame."""
    return progress.end + max(0.0, progress.start)


def _stated_seconds(container: Any, stream: Any) -> tuple[float | None, float]:
    """Return how long the video lasts, as the file says, and by how much it may be shorter; None if it does not say."""
    if not container.format.name.startswith(_STATES_ITS_LENGTH):
        return None, 0.0
    whole = container.duration / 1_000_000 if container.duration else None
    own = float(stream.duration * stream.time_base) if stream.duration else _seconds(stream.metadata.get("DURATION"))
    if container.format.name == "avi" and stream.average_rate:  # whose duration is what there is of the file
        return float(stream.frames / stream.average_rate), _SLACK
    known = [seconds for seconds in (whole, own) if seconds is not None]
    exact = own is not None or len(container.streams) == 1
    return min(known, default=None), _SLACK if exact else _SLACK_WITH_SOUND


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a time as Matroska's tags have it, 00:01:02.500000000."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text or "")
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def _raise_if_incomplete(progress: _Progress) -> None:
    """Raise ImageError for what of a video could not be read."""
    name, damaged = progress.name, progress.damaged
    if not progress.frames:
        raise ImageError(f"{name}: no frame can be read{f': {progress.error}' if progress.error else ''}")
    if progress.error is not None:
        where = f"frame {progress.frames - 1} ({progress.time:.2f} s)"
        raise ImageError(f"{name}: what comes after {where} cannot be read: {progress.error}")
    if damaged:
        raise ImageError(f"{name}: {counted(len(damaged), 'damaged part')} left out, the first at {damaged[0]:.2f} s")


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or one_line(error))


def _pyav(source: object) -> Any:
    """Return PyAV's module; ImageError, which names the video, if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise ImageError(f"{source}: a video: {not_installed('av', 'video')}") from error
    return av
