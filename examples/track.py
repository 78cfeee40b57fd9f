"""Follow objects through a video: PAA detects in each frame, ByteTrack gives every object an id that it keeps.

    pip install 'paa[video,supervision]' trackers
    python examples/track.py CHECKPOINT clip.mp4 --output tracked

writes tracks.csv, a row for each object in each frame, and tracked.mp4, on which ids and paths are drawn.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

import paa

BY_ID = sv.ColorLookup.TRACK
ANNOTATORS = [sv.BoxAnnotator(color_lookup=BY_ID), sv.TraceAnnotator(color_lookup=BY_ID)]
LABELS = sv.LabelAnnotator(color_lookup=BY_ID)


def tracked_frames(model: Any, video: str | Path, every: int = 1) -> Iterator[tuple[Any, sv.Detections]]:
    """Yield each frame of a video (image, index, time) and the objects in it, with their ids in `tracker_id`.

    ByteTrack looks at objects of low scores too, to find again what is half hidden; a new id needs a score of 0.5 in
    two frames. An id is given up when its object was not seen for a second.
    """
    tracker = ByteTrackTracker(track_activation_threshold=0.5, high_conf_det_threshold=0.4)
    for frame in paa.frames(video, every):
        found = model.predict(frame.image, threshold=0.1)
        tracked = tracker.update(found.to_supervision(), timestamp=frame.time)
        yield frame, tracked[tracked.tracker_id >= 0]  # -1: seen for the first time, or not sure enough


def drawn(image: np.ndarray, objects: sv.Detections) -> np.ndarray:
    """Return the image in BGR, as supervision takes it, with boxes, ids and paths."""
    scene = np.ascontiguousarray(image[:, :, ::-1])
    for annotator in ANNOTATORS:
        scene = annotator.annotate(scene, objects)
    texts = [f"{name} {id}" for name, id in zip(objects.data["class_name"], objects.tracker_id)]
    return LABELS.annotate(scene, objects, labels=texts)


def main(arguments: list[str] | None = None) -> None:
    """Write tracks.csv and tracked.mp4."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("video")
    parser.add_argument("--output", type=Path, default=Path("tracked"))
    parser.add_argument("--every", type=int, default=1, help="look at every so-many-th frame only")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU if there is one")
    given = parser.parse_args(arguments)

    model = paa.load(given.checkpoint, given.device).optimise()
    rate = max(1, round(sv.VideoInfo.from_video_path(given.video).fps / given.every))
    given.output.mkdir(parents=True, exist_ok=True)
    ids: set[int] = set()
    sink = None
    with ExitStack() as files:
        rows = csv.writer(files.enter_context((given.output / "tracks.csv").open("w", newline="")))
        rows.writerow(["frame", "time", "id", "name", "score", "x1", "y1", "x2", "y2"])
        for frame, objects in tracked_frames(model, given.video, given.every):
            ids.update(objects.tracker_id.tolist())
            for box, score, id, name in zip(
                objects.xyxy.tolist(), objects.confidence, objects.tracker_id, objects.data["class_name"]
            ):
                rows.writerow([frame.index, frame.time, id, name, round(float(score), 4), *box])
            scene = drawn(frame.image, objects)
            if sink is None:
                info = sv.VideoInfo(width=scene.shape[1], height=scene.shape[0], fps=rate)
                sink = files.enter_context(sv.VideoSink(str(given.output / "tracked.mp4"), info))
            sink.write_frame(scene)
    print(f"{len(ids)} objects; written to {given.output}")


if __name__ == "__main__":
    main()
