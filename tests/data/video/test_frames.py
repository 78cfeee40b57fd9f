from __future__ import annotations

import importlib
import os
import signal
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paa
from paa.data.images.rgb import Rgb
from paa.data.video.frames import Frame, expected_frames, frames
from paa.data.video.recognise import camera_number, is_video
from paa.errors import ConfigError, ImageError
from tests.videos import FORMATS, TURNS, noise, numbers, shades, turned, write_video

module = importlib.import_module("paa.data.video.frames")  # `paa.frames` is the function


def read(source: Path, every: int = 1) -> tuple[list[int], list[float]]:
    """Return which shades the frames are, and their times."""
    got = list(frames(source, every))
    assert [frame.index for frame in got] == list(range(0, every * len(got), every))
    return numbers([frame.image for frame in got]), [frame.time for frame in got]


def read_until_error(source: Path) -> tuple[int, str]:
    """Return the number of frames before the error, and its message."""
    count = 0
    with pytest.raises(ImageError) as error:  # noqa: PT012
        for _ in frames(source):
            count += 1
    return count, str(error.value)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("every", [1, 2, 7, 100])
def test_every_format(tmp_path: Path, suffix: str, every: int) -> None:
    path = write_video(tmp_path / f"a{suffix}", shades(60), rate=Fraction(30000, 1001))
    shown, times = read(path, every)
    assert shown == list(range(0, 60, every))
    np.testing.assert_allclose(times, [i * 1001 / 30000 for i in range(0, 60, every)], atol=0.001)
    expected = expected_frames(path, every)
    assert expected == len(shown) or (suffix == ".mts" and expected is None)


def test_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.51, 2.0, 2.04, 3.7]
    for suffix in (".mp4", ".mkv", ".mts"):
        path = write_video(tmp_path / f"a{suffix}", shades(7), times=[time + 5 for time in times])
        assert read(path) == (list(range(7)), pytest.approx(times, abs=0.001))
        assert read(path, 3) == ([0, 3, 6], pytest.approx([0, 0.51, 3.7], abs=0.001))


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored(tmp_path: Path, turn: str) -> None:
    """A phone writes the frames as its sensor lies, and beside them how they are to be shown."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48], image[:32, 48:], image[32:, :48] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    path = turned(write_video(tmp_path / "a.mp4", [image] * 3, index_first=True), turn)
    expected = {
        "as it is": image,
        "clockwise": np.rot90(image, -1),
        "upside down": np.rot90(image, 2),
        "anticlockwise": np.rot90(image),
        "mirrored": image[:, ::-1],
    }[turn]
    for frame in frames(path):
        assert frame.image.shape == expected.shape
        assert frame.image.flags["C_CONTIGUOUS"]
        assert np.abs(frame.image.astype(int) - expected).mean() < 8


def test_a_frame_is_not_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shades(60))
    seen: list[weakref.ref[Rgb]] = []
    for frame in frames(path):
        seen.append(weakref.ref(frame.image))
        del frame
        assert sum(image() is not None for image in seen) <= 2
    assert len(seen) == 60


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_video_without_its_end(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", noise(60), index_first=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    count, message = read_until_error(path)
    assert 10 < count < 45
    assert message.startswith(f"{path}: what comes after frame {count - 1} ({(count - 1) / 25:.2f} s) cannot be read: ")
    assert "its end is missing" in message


def test_an_mp4_whose_index_is_missing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noise(20))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    message = f"{path}: not a video that can be read, or one whose end is missing"
    assert read_until_error(path) == (0, message)
    assert expected_frames(path) is None


def test_damage_in_the_middle(tmp_path: Path) -> None:
    """What comes after is read, as players do."""
    path = write_video(tmp_path / "a.mp4", noise(100), index_first=True)
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 2, len(data) // 2 + 4000):
        data[i] ^= 0x5A
    path.write_bytes(data)
    count, message = read_until_error(path)
    assert 80 < count < 100
    assert message.startswith(f"{path}: ")
    assert "damaged part" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"hello " * 100, "not a video that can be read"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "not a video that can be read"),
        (b"ffconcat version 1.0\nfile whole.mp4\n", "not a video that can be read"),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, content: bytes, says: str) -> None:
    """Lists of other files and of URLs, which FFmpeg would follow, are not among the formats."""
    write_video(tmp_path / "whole.mp4", shades(2))
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert says in read_until_error(path)[1]


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"none\.mp4: no such video"):
        next(frames(tmp_path / "none.mp4"))
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        next(frames(tmp_path))
    with pytest.raises(ConfigError, match="--every must be a whole number of at least 1, got 0"):
        frames(tmp_path / "none.mp4", 0)
    path = write_video(tmp_path / "a.mp4", shades(2))
    monkeypatch.setenv("PAA_MAX_PIXELS", "3000")
    with pytest.raises(ImageError, match=r"a.mp4: has frames of 64 x 48 pixels; --max-pixels N reads them"):
        next(frames(path))


def test_without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", shades(2))
    monkeypatch.setitem(sys.modules, "av", None)
    for source in (path, "camera:0"):
        with pytest.raises(ImageError, match=rf"^{source}: a video: av is not installed: pip install 'paa\[video\]'$"):
            next(frames(source))


def test_a_sound_file_has_no_frames(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame(format="s16", layout="mono", samples=1024)
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "has no video" in read_until_error(path)[1]


def test_videos_are_recognised(tmp_path: Path) -> None:
    for suffix in FORMATS:
        made = write_video(tmp_path / f"a{suffix}", shades(12))
        assert is_video(made)
        assert is_video(made.rename(tmp_path / f"without-suffix-{suffix[1:]}"))
    assert is_video(tmp_path / "none.MP4")
    (tmp_path / "text").write_text("GGG")
    heic = tmp_path / "a.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for path in (tmp_path / "text", tmp_path / "none", tmp_path, heic):
        assert not is_video(path)


def test_names_of_cameras() -> None:
    names = {"camera:0": 0, "camera:12": 12, "/dev/video3": 3, "camera:": None, "0": None, "camera:a": None}
    assert {name: camera_number(name) for name in names} == names


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(ImageError, match=r"^camera:987: there is no /dev/video987; (no camera is|there are camera)"):
        next(frames("camera:987"))
    with pytest.raises(ImageError, match=r"^camera:987: "):
        next(frames("/dev/video987"))


def test_a_device_that_is_no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_device", lambda number: ("v4l2", "/dev/null"))
    with pytest.raises(ImageError, match=r"^camera:1: /dev/null cannot be opened: \w"):
        next(frames("camera:1"))


@pytest.fixture
def drawn_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let FFmpeg draw what the camera sees: 50 images a second, in real time, for ever."""
    picture = "testsrc=size=64x48:rate=50,realtime"
    monkeypatch.setattr(module, "_device", lambda number: ("lavfi", picture))


def test_a_camera(drawn_camera: None) -> None:
    camera: Iterator[Frame] = paa.frames("camera:0", every=5)
    got = [next(camera) for _ in range(4)]
    assert [frame.index for frame in got] == [0, 5, 10, 15]
    assert [frame.time for frame in got] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert {frame.image.shape for frame in got} == {(48, 64, 3)}


def test_ctrl_c_is_as_ever_in_a_loop_of_ones_own(drawn_camera: None) -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        for frame in paa.frames("camera:0"):
            if frame.index == 3:
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("every", [0, 1.5, "2", True])
def test_every_is_a_whole_number(every: Any) -> None:
    with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
        frames("a.mp4", every)
