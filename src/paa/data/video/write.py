"""Writing a video file, H.264 in MP4, frame by frame, which is whole however the writing ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from paa.data.images.rgb import Rgb
from paa.errors import ConfigError, RunError
from paa.runtime.extras import not_installed
from paa.runtime.files import whole_file

_CODECS = {
    "libx264": (Fraction(1, 360_000), {"crf": "20", "preset": "veryfast"}),
    "libopenh264": (Fraction(1, 360_000), {}),
    "mpeg4": (Fraction(1, 60_000), {"flags": "qscale", "global_quality": str(3 * 118)}),
}
"""Encoders, the best first: the unit of time, in which the times of all usual frame rates are whole, and options."""
_NOMINAL_RATE = 30  # the frames have times of their own; the encoder's choices need a rate
_BT601, _BT709, _LIMITED = 6, 1, 1  # FFmpeg's numbers for colours, written into the file so that all players agree

AddFrame = Callable[[Rgb, float], None]
"""Adds an image (H, W, 3), uint8 RGB, that is shown from a time in seconds on. The times increase."""


@contextmanager
def video_file(path: Path, comment: str = "") -> Iterator[AddFrame]:
    """Yield what adds frames to a new MP4 file, which is at `path` when the block ends, also by an error.

    The file has the first frame's size, made even where a side is odd, as H.264 wants it, by a row or column more at
    the bottom or right. Frames of other sizes are scaled. comment: is put into the file. RunError, and no file, if the
    system cannot write it.
    """
    av = _pyav()
    ended_by: BaseException | None = None
    with (
        whole_file(path, durable=False) as temporary,
        temporary.open("wb") as file,
        av.open(file, "w", format="mp4") as container,
    ):
        container.metadata["comment"] = comment
        encoder = _Encoder(av, container)
        try:
            yield encoder.add
        except BaseException as error:  # Ctrl-C too: the frames so far are kept
            ended_by = error
        encoder.finish()
    if ended_by is not None:
        raise ended_by


def comment_of(path: Path) -> str:
    """Return the comment in a video file; "" without one, and for a file that is no video."""
    av = _pyav()
    try:
        with av.open(str(path)) as container:
            return str(container.metadata.get("comment", ""))
    except (av.error.FFmpegError, OSError, ValueError):
        return ""


class _Encoder:
    """Encodes frames into a container; the first frame decides the size."""

    def __init__(self, av: Any, container: Any) -> None:
        self._av, self._container = av, container
        self._stream: Any = None
        self._held: Any = None  # the last packet so far, whose duration is not known yet
        self._last, self._step = -1, 0  # the last frame's time, and that since the frame before, in units

    def add(self, image: Rgb, time: float) -> None:
        height, width = image.shape[:2]
        if self._stream is None:
            self._stream, self._unit = self._new_stream(width + width % 2, height + height % 2)
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        size = {"width": self._stream.width, "height": self._stream.height}
        frame = frame.reformat(**size, format="yuv420p", dst_colorspace="ITU601")
        last, self._last = self._last, max(self._last + 1, round(time / self._unit))
        self._step = self._last - last if last >= 0 else round(1 / _NOMINAL_RATE / self._unit)
        frame.pts, frame.time_base = self._last, self._unit
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        if self._stream is None:
            return
        self._mux(self._stream.encode())
        if self._held is not None:
            self._held.duration = self._step  # else the last frame is shown for the nominal time
            self._container.mux(self._held)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet

    def _new_stream(self, width: int, height: int) -> tuple[Any, Fraction]:
        for name, (unit, options) in _CODECS.items():
            try:
                stream = self._container.add_stream(name, rate=_NOMINAL_RATE, options=options)
            except (self._av.error.FFmpegError, ValueError):
                continue
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.time_base = unit
            context.colorspace, context.color_primaries, context.color_trc = _BT601, _BT709, _BT709
            context.color_range = _LIMITED
            return stream, unit
        raise RunError(f"the FFmpeg of this av has none of the encoders {', '.join(_CODECS)}")


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise ConfigError(f"a video cannot be written: {not_installed('av', 'video')}") from error
    return av
