"""The folder that a batch inference writes: on this machine, or at any address that fsspec knows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from paa.batch_inference.addresses import file_system
from paa.errors import PaaError, RunError, one_line
from paa.runtime.files import whole_file
from paa.runtime.folder_lock import folder_lock

WRITING = "_writing"
"""The folder for what is not finished; engines that read a folder of Parquet leave out names with an underscore."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder by its address. Every file in it is whole: a reader, or a run that continues, sees none that is not."""

    address: str

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """Yield a temporary local path to write to; then the file is there under its name, in place of an earlier one.

        On this machine it is moved there, in a store it is put there by one request, which object stores make visible
        as a whole. RunError if it cannot be written.
        """
        local = self.local
        if local is not None:
            for folder in (local / WRITING, (local / name).parent):
                folder.mkdir(parents=True, exist_ok=True)
            with whole_file(local / name, folder=local / WRITING) as temporary:
                yield temporary
            return
        with TemporaryDirectory() as scratch:
            temporary = Path(scratch) / posixpath.basename(name)
            yield temporary
            with self._errors(name):
                files, root = file_system(self.address)
                files.makedirs(posixpath.dirname(f"{root}/{name}"), exist_ok=True)
                files.put_file(str(temporary), f"{root}/{name}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made if it is missing; RunError where another run on this machine's disks holds it.

        A store has no locks.
        """
        local = self.local
        if local is None:
            yield
            return
        with self._errors("lock"):
            local.mkdir(parents=True, exist_ok=True)
        with folder_lock(local):
            yield

    def write_text(self, name: str, text: str) -> None:
        """Write a small file as `new_file` does."""
        with self.new_file(name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read_text(self, name: str) -> str | None:
        """Return the content of a small file, None where there is none."""
        files, root = file_system(self.address)
        with self._errors(name, "read"):
            try:
                content: bytes = files.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
        return content.decode("utf-8", "replace")

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in a folder inside, as they are now; none where there is no such folder."""
        files, root = file_system(self.address)
        with self._errors(folder, "read"):
            files.invalidate_cache()
            try:
                return {posixpath.basename(name) for name in files.ls(f"{root}/{folder}", detail=False)}
            except FileNotFoundError:
                return set()

    def remove(self, folder: str) -> None:
        """Remove a folder inside and all that is in it, if it is there."""
        files, root = file_system(self.address)
        with self._errors(folder):
            files.invalidate_cache()
            if files.exists(f"{root}/{folder}"):
                files.rm(f"{root}/{folder}", recursive=True)

    @property
    def local(self) -> Path | None:
        """The folder's path on this machine, None where it is in a store."""
        from fsspec.implementations.local import LocalFileSystem

        files, root = file_system(self.address)
        return Path(root) if isinstance(files, LocalFileSystem) else None

    @contextmanager
    def _errors(self, name: str, done: str = "written") -> Iterator[None]:
        """Turn a store's errors, each of which has classes of its own, into a RunError."""
        try:
            yield
        except PaaError:
            raise
        except Exception as error:
            raise RunError(f"{self.address}/{name}: cannot be {done}: {one_line(error)}") from error
