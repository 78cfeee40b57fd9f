"""What is printed never stops a command."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from paa.runtime.terminal import Output, safe_output


class Failing(io.StringIO):
    """A stream whose `flush` fails, as that of a full disk or of a closed pipe does."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def flush(self) -> None:
        raise self._error


FULL_DISK = OSError(errno.ENOSPC, "No space left on device")


def test_output_is_written() -> None:
    stream = io.StringIO()
    output = Output(stream)
    assert output.write("text") == 4
    output.flush()
    assert stream.getvalue() == "text"
    assert output.error is None
    assert output.getvalue() == "text"  # all else is the stream's own


@pytest.mark.parametrize(("error", "kept"), [(FULL_DISK, FULL_DISK), (BrokenPipeError(), None)])
def test_output_that_fails(error: OSError, kept: OSError | None) -> None:
    output = Output(Failing(error))
    output.write("text")
    output.flush()
    assert output.error is kept
    assert output.write("more") == 4


def print_and_work(done: list[str], raised: BaseException | None = None) -> None:
    with safe_output():
        print("text", flush=True)
        done.append("work")
        if raised is not None:
            raise raised


def test_a_full_disk_is_reported_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(sys, "stdout", Failing(FULL_DISK))
    with pytest.raises(SystemExit) as caught:
        print_and_work(done)
    assert caught.value.code == 2
    assert done == ["work"]
    assert capsys.readouterr().err == "paa: error: standard output cannot be written: No space left on device\n"


def test_lost_findings_are_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that ends with 1 says that there is something to read, which was lost."""

    @safe_output()
    def find() -> None:
        print("a finding")
        sys.exit(1)

    monkeypatch.setattr(sys, "stdout", Failing(FULL_DISK))
    with pytest.raises(SystemExit) as caught:
        find()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "paa: error: standard output cannot be written: No space left on device\n"


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    monkeypatch.setattr(sys, "stdout", Failing(BrokenPipeError()))
    print_and_work(done)
    assert done == ["work"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("raised", [SystemExit(3), ValueError("a fault"), KeyboardInterrupt()])
def test_what_ends_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> None:
    stream = Failing(FULL_DISK)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(type(raised)) as caught:
        print_and_work([], raised)
    assert caught.value is raised
    assert sys.stdout is stream


def test_characters_that_the_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with safe_output():
        print("é猫", end="")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9\\u732b"  # type: ignore[attr-defined]
    with pytest.raises(UnicodeEncodeError):  # as before
        stream.write("é")


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell can start a program with standard output closed."""
    monkeypatch.setattr(sys, "stdout", None)
    with safe_output():
        print("text")
    assert sys.stdout is None
