from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from paa.data.video.frames import frames
from paa.data.video.write import video_file
from paa.errors import ConfigError, RunError
from tests.videos import av, numbers, shades

RATES = [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(6), Fraction(60)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_and_times_are_those_given(
    tmp_path: Path, rate: Fraction, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paa.data.video import write

    monkeypatch.setattr(write, "_CODECS", {"missing": (Fraction(1), {}), codec: write._CODECS[codec]})
    path = tmp_path / "a.mp4"
    with video_file(path) as add:
        for i, image in enumerate(shades(40)):
            add(image, float(i / rate))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (64, 48, 40)
        assert stream.codec_context.name == {"libx264": "h264"}.get(codec, codec)
        exact = codec == "libx264"  # MPEG-4 has coarser units of time
        assert stream.average_rate == (rate if exact else pytest.approx(rate, rel=1e-4))
        assert stream.duration * stream.time_base == (40 / rate if exact else pytest.approx(40 / rate, rel=1e-4))
    got = list(frames(path))
    assert numbers([frame.image for frame in got]) == list(range(40))
    assert [frame.time for frame in got] == pytest.approx([float(i / rate) for i in range(40)], abs=1e-4)


def test_times_of_a_variable_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.04, 1.5, 1.2, 3.0]  # damaged files have times that do not increase
    with video_file(tmp_path / "a.mp4") as add:
        for time, image in zip(times, shades(6)):
            add(image, time)
    got = list(frames(tmp_path / "a.mp4"))
    assert numbers([frame.image for frame in got]) == list(range(6))
    assert [frame.time for frame in got] == pytest.approx([0.0, 0.04, 0.04, 1.5, 1.5, 3.0], abs=1e-4)


def test_colours(tmp_path: Path) -> None:
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [128, 128, 128], [255, 255, 255]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 64, axis=0), 40, axis=1)
    with video_file(tmp_path / "a.mp4") as add:
        for i in range(3):
            add(image, i / 25)
    for frame in frames(tmp_path / "a.mp4"):
        assert np.abs(frame.image[32, 20::40].astype(int) - colours).max() <= 4


def test_odd_and_changing_sizes(tmp_path: Path) -> None:
    with video_file(tmp_path / "a.mp4") as add:
        add(np.full((47, 63, 3), 200, np.uint8), 0)
        add(np.full((96, 20, 3), 200, np.uint8), 1)
    for frame in frames(tmp_path / "a.mp4"):
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.min() > 190


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RunError, SystemExit])
def test_what_ends_it_leaves_a_whole_video(tmp_path: Path, kind: type[BaseException]) -> None:
    error = kind("stop")
    with pytest.raises(kind) as raised, video_file(tmp_path / "a.mp4") as add:  # noqa: PT012
        for i, image in enumerate(shades(30)):
            add(image, i / 25)
            if i == 20:
                raise error
    assert raised.value is error
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert numbers([frame.image for frame in frames(tmp_path / "a.mp4")]) == list(range(21))


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="this system has no /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no video then, not even a part of one."""
    from paa.runtime import files

    link = tmp_path / "a.mp4.tmp"
    link.symlink_to("/dev/full")
    monkeypatch.setattr(files, "_temporary_path", lambda path: link)
    rng = np.random.default_rng(0)
    says = r"a\.mp4: cannot be written: No space left"
    with pytest.raises(RunError, match=says), video_file(tmp_path / "a.mp4") as add:  # noqa: PT012
        for i in range(300):
            add(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8), i / 25)
    assert not list(tmp_path.iterdir())


def test_without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"cannot be written: av is not installed"), video_file(tmp_path / "a.mp4"):
        pass
    assert not list(tmp_path.iterdir())


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paa.data.video import write

    monkeypatch.setattr(write, "_CODECS", {"missing": (Fraction(1), {})})
    with pytest.raises(RunError, match="none of the encoders missing"), video_file(tmp_path / "a.mp4") as add:
        add(shades(1)[0], 0)
