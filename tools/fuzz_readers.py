"""The readers that `fuzz.py` tries, each with valid small files to start from and a mutator of their structure.

A reader is right if it returns, or raises one of the project's errors with a message of one line, soon, without opening
a file outside of its folder and without starting a program. `Trial` holds it to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import pickle
import struct
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

import fuzz_mutators as mutators
from fuzz_mutators import SEPARATOR, Mutator
from paa.config import ModelConfig
from paa.data import build, cache
from paa.data.formats.interface import ReadRequest
from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.data.images.read import decode_image, read_image, read_size
from paa.data.images.remarks import collected_remarks
from paa.data.index import DatasetIndex
from paa.data.read import read_request
from paa.data.read_report import ReadReport
from paa.detections import Detections
from paa.errors import ImageError, PaaError
from paa.evaluation.results_file import read_results
from paa.export.description import KEY, Description, from_json, to_json
from paa.export.forms import onnx as onnx_form
from paa.inference.prepared import Prepared
from paa.weights.formats import own
from paa.weights.read import read_start

SLOW = 2.0  # seconds of computing for one input
LONGEST = 4000  # characters of a message
PATIENCE = 10.0  # seconds until a request must have an answer

Read = Callable[[bytes], None]


class WrongError(Exception):
    """What a reader did, and must not do. kind: what is to be fixed once, however often it is found."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Reader:
    """A reader.

    seeds: valid inputs. open: sets it up in an empty folder, and returns the function that reads an input; what it
    changes in this process goes to the stack, which undoes it. mutate: changes an input. longest: bytes of an input.
    stays_inside: whether it may open nothing outside of the folder.
    """

    seeds: Callable[[], Iterable[bytes]]
    open: Callable[[Path, ExitStack], Read]
    mutate: Mutator
    longest: int = 4096
    stays_inside: bool = True


class Trial:
    """Reads inputs, and raises WrongError for whatever a reader must not do."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        """folder: an empty one, which files may be read from; a file beside it must not be."""
        self._inside = folder / "inside"
        self._inside.mkdir(parents=True)
        self._start = f"{self._inside}/"
        Image.new("RGB", (64, 48)).save(folder / "secret.png")
        (folder / "secret.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        self._patches = ExitStack()
        environment = {MAX_PIXELS_VARIABLE: "1000000", "PAA_CACHE": "off"}
        self._patches.enter_context(mock.patch.dict(os.environ, environment))
        self._patches.enter_context(mock.patch.object(logging.getLogger("paa"), "disabled", True))
        self._read = reader.open(self._inside, self._patches)
        for seed in reader.seeds():  # also imports what is imported late
            self._read_one(seed)
        self._stays_inside = reader.stays_inside
        self._opened: str | None = None
        self._watching = False
        sys.addaudithook(self._audit)

    def __call__(self, data: bytes) -> None:
        """Read an input."""
        self._opened = None
        start = time.process_time()
        self._watching = True
        try:
            self._read_one(data)
        finally:
            self._watching = False
        seconds = time.process_time() - start
        if self._opened is not None:
            raise WrongError("opened " + self._opened.partition(" ")[0], f"a file outside was opened: {self._opened}")
        if seconds > SLOW:
            raise WrongError("slow", f"took {seconds:.1f} s of computing")

    def close(self) -> None:
        """Undo what the reader changed in this process."""
        self._watching = False
        self._patches.close()

    def _read_one(self, data: bytes) -> None:
        try:
            self._read(data)
        except PaaError as error:
            message = str(error)
            if len(message.splitlines()) != 1 or len(message) > LONGEST:
                raise WrongError(f"message of {type(error).__name__}", f"not one line: {message[:500]!r}") from error

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in ("open", "os.listdir", "os.scandir"):
            if not self._stays_inside:
                return
            path = arguments[0]
            if isinstance(path, int) or path is None:
                return
            name = os.fsdecode(path)
            if name.startswith(self._start) and ".." not in name and "link" not in name:
                return
            real = os.path.realpath(name)
            if not real.startswith((str(self._inside), *_OWN_FILES)):
                self._opened = f"{event} {real}"
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "socket.connect"):
            self._opened = f"{event} {arguments!r:.200}"


_OWN_FILES = (
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib")},
    str(Path(cache.__file__).parents[1]),
    "/dev/",
    "/proc/",
)


def _read_set(
    format: str, files: tuple[str, ...], prepare: Callable[[Path], None], given: str = ""
) -> Callable[[Path, ExitStack], Read]:
    """Return what sets up a reader of data sets. files: those that an input is written to, in its order."""

    def open(folder: Path, patches: ExitStack) -> Read:
        prepare(folder)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "link").symlink_to("..")
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / "linked.png").symlink_to("../../secret.png")
        size = mock.patch.object(build, "read_size", return_value=(48, 64))  # images have a reader of their own here
        patches.enter_context(size)

        def read(data: bytes) -> None:
            for name, content in zip(files, data.split(SEPARATOR)):
                (folder / name).write_bytes(content)
            report = ReadReport(skip_bad=True)
            index = read_request(ReadRequest(folder / given), format, report)
            _check_index(index)
            _check_images(index, folder)

        return read

    return open


def _check_index(index: DatasetIndex) -> None:
    """Raise WrongError for an index that contradicts itself."""
    boxes, offsets = index.boxes, index.offsets
    usable = (
        len(index) > 0
        and offsets[0] == 0
        and offsets[-1] == len(boxes)
        and bool((np.diff(offsets) >= 0).all())
        and bool(((index.labels >= 0) & (index.labels < len(index.names))).all())
    )
    if not usable:
        raise WrongError("index", "an index that contradicts itself")


def _check_images(index: DatasetIndex, folder: Path) -> None:
    """Raise WrongError for images outside of the folder, and for boxes that cannot be trained on."""
    if not (np.isfinite(index.boxes).all() and (index.boxes[:, 2:] > index.boxes[:, :2]).all()):
        raise WrongError("boxes", "a box that is not finite, or has no area")
    if len(np.unique(index.image_ids)) < len(index):
        raise WrongError("ids", "an id that two images have")
    for i in range(len(index)):
        if not os.path.realpath(index.path(i)).startswith(str(folder)):
            raise WrongError("escape", f"an image outside of the folder: {index.path(i)}")


def _draw(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)


def _coco_seeds() -> Iterable[bytes]:
    images = [{"id": i, "file_name": f"{name}.png", "height": 48, "width": 64} for i, name in enumerate("ab", 1)]
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 10], "area": 200, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [1.5, 2.5, 3, 4]},
    ]
    classes = [{"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog"}]
    yield json.dumps({"images": images, "annotations": boxes, "categories": classes}).encode()
    images[1] = {"id": "2", "file_name": "images\\b.png"}
    boxes[1] = {
        "id": "x",
        "image_id": "2",
        "category_id": 2.0,
        "segmentation": {"size": [48, 64], "counts": [100, 5, 2967]},
        "iscrowd": "1",
    }
    yield json.dumps({"images": images, "annotations": boxes, "categories": classes}).encode("utf-16")
    boxes[1]["segmentation"] = [[1, 1, 5, 1, 5, 9]]
    yield json.dumps({"images": images, "annotations": boxes, "categories": classes}).encode()
    boxes[1]["segmentation"] = {"size": [48, 64], "counts": "d35_O1O1"}
    images[0] = {"id": 1, "coco_url": "http://host/images/a.png"}
    yield json.dumps({"images": images, "annotations": boxes, "categories": classes}).encode()


def _voc_seeds() -> Iterable[bytes]:
    xml = (
        "<annotation><folder>JPEGImages</folder><filename>a.png</filename><path>C:\\set\\JPEGImages\\a.png</path>"
        "<size><width>64</width><height>48</height><depth>3</depth></size><object><name>cat</name><difficult>0"
        "</difficult><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )
    yield xml.encode() + SEPARATOR + b"a\nb\n"
    yield xml.replace("a.png", "c.jpg").encode("utf-16") + SEPARATOR + b"x 1\nb -1\nJPEGImages/b.png\n"
    yield ('<?xml version="1.0" encoding="gbk"?>' + xml.replace("cat", "猫")).encode("gbk") + SEPARATOR + b"a\r\nb.xml"


def _prepare_voc(folder: Path) -> None:
    _draw(folder, "JPEGImages/a.png", "JPEGImages/b.png")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "b.xml").write_text(
        "<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
        "</object></annotation>"
    )


def _yolo_seeds() -> Iterable[bytes]:
    yield b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.1 0.1\n" + SEPARATOR + b"images/a.png\n./images/b.png\n"
    yield b"1 0.1 0.2 0.5 0.2 0.5 0.6 0.3 0.9\n" + SEPARATOR + b"/home/me/set/images/a.png\nC:\\set\\images\\b.png\n"
    yield "0 .5 .5 1 1\r\n".encode("utf-16") + SEPARATOR + "data/images/a.png\n".encode("utf-8-sig")


def _prepare_yolo(folder: Path) -> None:
    _draw(folder, "images/a.png", "images/b.png")
    (folder / "data.yaml").write_text("train: train.txt\nval: images\nnames: [cat, dog]\n")


def _yaml_seeds() -> Iterable[bytes]:
    yield b"path: .\ntrain: images\nval: images/val\nnames:\n  0: cat\n  1: dog\nnc: 2\n"
    yield b'{"path": "", "train": ["images/a.png", "train.txt"], "val": "../images/val", "names": ["cat", "dog"]}'
    yield b"train: ../set/images\nnames: names.txt\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    yield b"a: &a [cat, dog]\nnames: *a\ntrain: C:\\set\\images\n"


def _prepare_yaml(folder: Path) -> None:
    _draw(folder, "images/a.png", "images/val/b.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (folder / "train.txt").write_text("images/a.png\n")
    (folder / "names.txt").write_text("cat\ndog\n")


_PILLOW_FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    "TGA",
    "JPEG2000",
    "AVIF",
    "MPO",
    "EPS",
    "PCX",
    "ICO",
    "SGI",
)


def _image_seeds() -> Iterable[bytes]:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
    for format in _PILLOW_FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "I;16", "1"):
            target = io.BytesIO()
            try:
                exif = Image.Exif()
                exif[274] = 6
                colours.convert(mode).save(
                    target, format, **({"exif": exif} if format in ("JPEG", "PNG", "WEBP") else {})
                )
            except (OSError, KeyError, ValueError):  # a mode that the format has not
                continue
            yield target.getvalue()
            if format in ("JPEG", "PNG", "WEBP", "BMP"):
                yield target.getvalue()[:-20]
    target = io.BytesIO()
    colours.save(target, "JPEG", progressive=True)
    yield target.getvalue()


def _open_image(folder: Path, patches: ExitStack) -> Read:
    path = folder / "image"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with collected_remarks():
            try:
                read_size(path)
            except ImageError as error:
                _check_line(error)
            try:
                image = read_image(path)
            except ImageError as error:
                _check_line(error)
                image = None
            try:
                sent = decode_image(data, "image")
            except ImageError as error:
                _check_line(error)
                sent = None
        for pixels in (image, sent):
            if pixels is None:
                continue
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
                raise WrongError("pixels", f"an image of shape {pixels.shape}, {pixels.dtype}")

    return read


def _check_line(error: PaaError) -> None:
    if len(str(error).splitlines()) != 1 or len(str(error)) > LONGEST:
        raise WrongError(f"message of {type(error).__name__}", f"not one line: {str(error)[:500]!r}")


def _checkpoint_seeds() -> Iterable[bytes]:
    tensors = {
        "head.a": torch.ones(2, 3),
        "head.b": torch.zeros(2, dtype=torch.int64),
        "module.c": torch.ones(1).half(),
    }
    whole = own.write(ModelConfig(backbone="resnet18"), ("cat", "dog"), tensors, {"step": 3, "rng": np.arange(3)})
    for values, legacy in (
        (whole, False),
        (whole, True),
        (tensors, False),
        ({"state_dict": tensors, "meta": {}}, False),
    ):
        target = io.BytesIO()
        torch.save(values, target, _use_new_zipfile_serialization=not legacy)
        yield target.getvalue()
    for protocol in (0, 2, 4):
        yield pickle.dumps({"blobs": {"conv1_w": np.ones((2, 2), np.float32), "fc1000_b": np.arange(2)}}, protocol)
    about = {"version": 1, "config": {"backbone": "resnet18"}, "names": ["cat"], "provenance": {"format": "x"}}
    yield save(tensors, {"paa": json.dumps(about)})
    target = io.BytesIO()
    names = ("backbone.conv1.weight", "bbox_head.atss_cls.weight", "neck.lateral_convs.0.conv.weight")
    torch.save({"meta": {"CLASSES": ("cat",)}, "state_dict": {name: torch.ones(1, 1, 1, 1) for name in names}}, target)
    yield target.getvalue()
    target = io.BytesIO()
    torch.save({"model": {"module.rpn.head.cls_logits.weight": torch.ones(2, 1, 1, 1)}, "iteration": 3}, target)
    yield target.getvalue()


def _open_checkpoint(folder: Path, patches: ExitStack) -> Read:
    path = folder / "model.pt"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_start(str(path), "resnet18")

    return read


def _description() -> str:
    return to_json(Description(("cat", "dog"), ModelConfig(backbone="resnet18"), provenance={"file": "model.pt"}))


def _onnx_seeds() -> Iterable[bytes]:
    import onnx
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, "height", "width"])
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, ["batch", 2])
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 100, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 100]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [1, 100]),
    ]
    nodes = [
        helper.make_node(
            "Constant", [], ["boxes"], value=onnx.numpy_helper.from_array(np.zeros((1, 2, 4), np.float32))
        ),
        helper.make_node("ReduceSum", ["ones"], ["scores"], keepdims=0),
        helper.make_node("Constant", [], ["labels"], value=onnx.numpy_helper.from_array(np.zeros((1, 2), np.int64))),
    ]
    ones = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "ones")
    graph = helper.make_graph(nodes, "detector", [images, sizes], outputs, [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key=KEY, value=_description())
    yield model.SerializeToString()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../secret.png")
    yield model.SerializeToString()


def _open_onnx(folder: Path, patches: ExitStack) -> Read:
    path = folder / "model.onnx"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        onnx_form.open(path)

    return read


def _index(folder: Path) -> DatasetIndex:
    return DatasetIndex(
        root=folder,
        file_names=np.array([b"a.png", b"images/b.png"], np.bytes_),
        image_ids=np.array([1, 2]),
        sizes=np.array([[48, 64], [48, 64]], np.int32),
        offsets=np.array([0, 1, 2]),
        boxes=np.array([[0, 0, 5, 5], [1, 1, 4, 4]], np.float32),
        labels=np.array([0, 1]),
        crowd=np.array([False, True]),
        areas=np.array([25, 9], np.float32),
        names=("cat", "dog"),
        category_ids=np.array([1, 7]),
    )


def _cache_seeds() -> Iterable[bytes]:
    index = _index(Path(_ROOT))
    facts = json.dumps({"root": _ROOT, "names": index.names, "left_out": ["x"], "warnings": []})
    columns = {name: getattr(index, name) for name in cache._COLUMNS}
    columns["file_names"] = index.file_names.view(np.uint8).reshape(len(index), -1)
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    yield save(tensors, {"facts": facts, "checksum": cache._checksum(facts, index)})


_ROOT = "(root)"
"""Stands in an entry of the cache for the folder, which differs between runs."""


def _open_cache(folder: Path, patches: ExitStack) -> Read:
    _draw(folder, "a.png", "images/b.png")
    entry = folder / "entry.paa-index"

    def read(data: bytes) -> None:
        (length,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
        head, body = data[8 : 8 + length].replace(_ROOT.encode(), str(folder).encode()), data[8 + length :]
        checked = _with_checksum(struct.pack("<Q", len(head)) + head + body)
        entry.write_bytes(checked)
        report = ReadReport()
        index = cache._load(entry, report)
        if index is not None:
            _check_index(index)
            report.lines("train", index)

    return read


def _with_checksum(data: bytes) -> bytes:
    """Return an entry with the checksum of its content, if it can be computed: a changed entry whose sum is right."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        body = data[8 + length :]
        crc = cache.zlib.crc32(header["__metadata__"]["facts"].encode())
        for name in cache._COLUMNS:
            start, end = header[name]["data_offsets"]
            crc = cache.zlib.crc32(body[start:end], crc)
        header["__metadata__"]["checksum"] = str(crc)
        text = json.dumps(header).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, IndexError, struct.error):
        return data
    return struct.pack("<Q", len(text)) + text + body


def _results_seeds() -> Iterable[bytes]:
    result = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    yield json.dumps([result, {**result, "image_id": "b.png", "category_id": "dog", "score": 1}]).encode()
    yield (
        b"\xef\xbb\xbf"
        + json.dumps([{**result, "score": float("nan")}, {**result, "image_id": "2", "bbox": []}]).encode()
    )


def _open_results(folder: Path, patches: ExitStack) -> Read:
    path, index = folder / "results.json", _index(folder)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        table = read_results(path, index, ReadReport(skip_bad=True))
        inside = (table.image >= 0) & (table.image < 2) & (table.labels >= 0) & (table.labels < 2)
        if not (inside.all() and np.isfinite(table.boxes).all() and np.isfinite(table.scores).all()):
            raise WrongError("table", "detections of no image or class, or that are not finite")

    return read


def _request_seeds() -> Iterable[bytes]:
    target = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(target, "PNG")
    form = (
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + target.getvalue()
        + b'\r\n--x\r\nContent-Disposition: form-data; name="note"\r\n\r\ntext\r\n--x--\r\n'
    )
    yield b"POST /predict\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n\r\n" + form
    yield (
        b"POST /predict?threshold=0.5&classes=cat&voting=true\r\ncontent-type: multipart/form-data; boundary=x\r\n\r\n"
        + form
    )
    yield b'POST /predict\r\nhost: localhost\r\ncontent-type: application/json\r\n\r\n["http://host/a.png", "http://host/none"]'
    yield b"GET /health\r\nhost: localhost\r\norigin: http://localhost\r\n\r\n"
    yield b"GET /metrics\r\n\r\n"


class _Service:
    """Stands in for `paa.serve.service.Service`, without a network."""

    def __init__(self) -> None:
        from paa.serve.limits import Limits
        from paa.serve.metrics import Metrics

        self.limits, self.metrics = Limits(max_body=0.01), Metrics()
        self.name, self.names, self.device, self.version = "model.pt", ("cat", "dog"), "cpu", "0"
        self.threshold, self.least = 0.3, 0.05
        self.voting, self.fixed_voting, self.ready = True, False, True

    def prepare(self, image: Any) -> Prepared:
        return Prepared(torch.from_numpy(image).permute(2, 0, 1), image.shape[:2])

    def submit(self, images: list[Prepared], voting: bool) -> list[Future[Detections]]:
        futures: list[Future[Detections]] = [Future() for _ in images]
        for future in futures:
            boxes = np.array([[1, 1, 4, 4]], np.float32)
            future.set_result(Detections(boxes, np.array([0.9], np.float32), np.array([1]), self.names))
        return futures


def _open_request(folder: Path, patches: ExitStack) -> Read:
    from paa.serve import requests
    from paa.serve.api import make_app

    target = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(target, "PNG")

    def fetch(url: str, limits: object) -> bytes:
        if not url.startswith("http://host/a"):
            raise ImageError(f"{url}: not found")
        return target.getvalue()

    patches.enter_context(mock.patch.object(requests, "fetch", fetch))
    patches.enter_context(mock.patch.object(logging.getLogger("python_multipart.multipart"), "disabled", True))
    app = make_app(_Service(), allow_urls=True)  # type: ignore[arg-type]
    loop = patches.enter_context(contextlib.closing(asyncio.new_event_loop()))

    def read(data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, _, address = first.partition(b" ")
        path, _, query = address.partition(b"?")
        pairs = [line.partition(b":") for line in lines]
        messages = [
            {"type": "http.request", "body": body[:300], "more_body": True},
            {"type": "http.request", "body": body[300:], "more_body": False},
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method.decode("latin-1").upper(),
            "scheme": "http",
            "path": path.decode("utf-8", "replace") or "/",
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.strip().lower(), value.strip()) for name, _, value in pairs if name.strip()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        try:
            loop.run_until_complete(asyncio.wait_for(app(scope, receive, send), PATIENCE))
        except TimeoutError as error:
            raise WrongError("no answer", f"no answer in {PATIENCE} s") from error
        status = sent[0]["status"]
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        if status >= 500 and status not in (503, 504):
            raise WrongError(f"status {status}", answer.decode("utf-8", "replace")[:300])
        if 400 <= status < 500 and path == b"/predict":
            detail = json.loads(answer)["detail"]
            if not isinstance(detail, str) or len(detail.splitlines()) != 1:
                raise WrongError("detail", f"{status}: not one line: {detail!r:.300}")

    return read


def _open_description(folder: Path, patches: ExitStack) -> Read:
    def read(data: bytes) -> None:
        from_json(data.decode("utf-8", "replace"))

    return read


READERS = {
    "coco": Reader(
        _coco_seeds,
        _read_set("coco", ("train.json",), lambda folder: _draw(folder, "images/a.png", "images/b.png"), "train.json"),
        mutators.mutate_json,
    ),
    "voc": Reader(
        _voc_seeds,
        _read_set("voc", ("Annotations/a.xml", "ImageSets/Main/train.txt"), _prepare_voc),
        mutators.several(mutators.mutate_xml, mutators.mutate_lines),
    ),
    "yolo": Reader(
        _yolo_seeds,
        _read_set("yolo", ("labels/a.txt", "train.txt"), _prepare_yolo),
        mutators.several(mutators.mutate_lines),
        longest=1024,
    ),
    "yaml": Reader(_yaml_seeds, _read_set("yolo", ("data.yaml",), _prepare_yaml), mutators.mutate_yaml, longest=1024),
    "image": Reader(_image_seeds, _open_image, mutators.mutate_image),
    "checkpoint": Reader(_checkpoint_seeds, _open_checkpoint, mutators.mutate_checkpoint, 16384),
    "description": Reader(lambda: [_description().encode()], _open_description, mutators.mutate_json),
    "onnx": Reader(_onnx_seeds, _open_onnx, mutators.mutate_bytes, 8192),
    # an entry is a person's own, and says where the images are
    "cache": Reader(_cache_seeds, _open_cache, mutators.mutate_safetensors, stays_inside=False),
    "results": Reader(_results_seeds, _open_results, mutators.mutate_json),
    "request": Reader(_request_seeds, _open_request, mutators.mutate_request),
}
