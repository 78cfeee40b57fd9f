"""paa predict --engine: the options of `paa predict` as a batch inference in worker processes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paa.commands.options import with_tiles, with_views
from paa.data.read_report import printable
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.batch_inference.detector import BatchDetector
    from paa.commands.predict import Predict


def predict_with_engine(command: Predict, console: Console) -> None:
    """Detect in all images, and end with code 1 if some of them, also in an earlier start, could not be read."""
    from paa.batch_inference.addresses import find_addresses
    from paa.batch_inference.output_folder import OutputFolder
    from paa.batch_inference.run import detect_in_shards
    from paa.data.read_report import counted
    from paa.report.progress import progress_bar, terminal_for_progress
    from paa.runtime.urls import url_of

    assert command.engine is not None
    _check_forms(command)
    output = OutputFolder(url_of(command.output) or str(command.output))
    images = find_addresses([path for path in command.paths if path != "-"], listed_images(command.paths))
    if not images:
        raise ConfigError("no images given: standard input has no line")
    options = command.engine_options
    with progress_bar(terminal_for_progress(console), "images", len(images)) as advance:
        done = detect_in_shards(
            _detector(command),
            images,
            output,
            command.engine,
            workers=options.workers,
            shard_size=options.shard_size,
            listen=advance,
        )
    before = f"{counted(done.before, 'image')} were finished before; " if done.before else ""
    console.print(f"{before}{counted(done.images, 'image')}: {counted(done.detections, 'object')}", markup=False)
    console.print(f"written to {output.address}", markup=False)
    log = logging.getLogger("paa")
    if done.errors:
        log.warning(
            f"images: left out {done.errors}" + ("; some of them:" if done.errors > len(done.first_errors) else ":")
        )
        for line in done.first_errors:
            log.warning(f"  {printable(line)}")
        log.warning(f"all of them are listed in {output.address}/errors; with --skip-bad the exit code is 0")
        if not command.skip_bad:
            sys.exit(1)


def listed_images(paths: tuple[str, ...]) -> list[str]:
    """Return the lines of standard input, which is read to its end, if - is among the paths."""
    if "-" not in paths:
        return []
    if sys.stdin is None:  # the shell closed it
        raise ConfigError("-: no images can be listed there: standard input is closed")
    lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]  # names may be invalid Unicode
    return [line for line in lines if line]


def _check_forms(command: Predict) -> None:
    """Raise ConfigError for options that mean nothing to an engine."""
    if command.save not in (("images",), ("parquet",)):
        raise ConfigError("--engine writes Parquet files alone: leave --save out")
    if command.every != 1:
        raise ConfigError("--engine takes images alone: --every is for videos")
    for name, value in (("workers", command.engine_options.workers), ("shard-size", command.engine_options.shard_size)):
        if value is not None and value < 1:
            raise ConfigError(f"--engine.{name} must be at least 1, got {value}")


def _detector(command: Predict) -> BatchDetector:
    from paa.batch_inference.detector import BatchDetector
    from paa.evaluation.thresholds import read_thresholds

    inference = with_views(command.inference, command.multi_scale, command.views)
    thresholds = None if command.thresholds is None else tuple(sorted(read_thresholds(command.thresholds).items()))
    checkpoint = Path(command.checkpoint)
    return BatchDetector(
        checkpoint.absolute() if checkpoint.exists() else checkpoint,  # workers may be in another folder
        with_tiles(inference, command.tiles, command.tiling),
        command.device,
        command.checkpoint_format,
        tuple(sorted(command.classes)),
        thresholds,
        command.top_k,
        command.batch_size,
        command.engine_options.readers,
        command.max_pixels,
        command.fetching,
    )
