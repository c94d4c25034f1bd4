"""The log of a process that runs chunks takes bounded space, and no failure is lost in what is cut out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import portico
from portico.analysis.analysis import Analysis
from portico.errors import InputError
from portico.executors.local import LocalExecutor
from portico.worker import log
from portico.worker.log import LOG

pytestmark = pytest.mark.integration

CODE = """
import os
import time

def chatty(frame, sample, *, words=""):
    for number in range(60):
        os.write(2, b"an event that nobody reads about\\n" * 16_000)  # 0.5 MB
        if number == 20:
            os.write(2, words.encode())
        time.sleep(0.02)
    return {"n": frame.Count()}
"""
MEGABYTE = 2**20


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.full
def test_a_step_that_prints_much_fills_no_disk(
    make_analysis: Callable[..., Analysis], events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MOST_BYTES", 4 * MEGABYTE)

    def analysis(words: str) -> Analysis:
        step = f'{{name: chatty, function: "mysteps:chatty", options: {{words: "{words}"}}}}'
        return make_analysis(CODE, f"  - {step}", f'    a: {{files: "{events}/events0.root"}}')

    executor = LocalExecutor(1)
    try:
        [runner] = executor._runners
        sizes, lengths = list[int](), list[int]()
        watch = runner.watch

        def watched() -> None:
            watch()
            sizes.append(on_disk(runner.folder / LOG))
            lengths.append((runner.folder / LOG).stat().st_size)

        monkeypatch.setattr(runner, "watch", watched)
        run = portico.run(analysis(""), folder=tmp_path / "run", executor=executor)
        assert run["chatty"]["a"]["n"] == 250
        assert max(lengths) > 20 * MEGABYTE
        assert min(size for size, length in zip(sizes, lengths, strict=True) if length > 20 * MEGABYTE) < 8 * MEGABYTE
        with pytest.raises(InputError, match="ROOT reported: Error in <TBasket::Streamer>: lost in the middle"):
            portico.run(analysis("Error in <TBasket::Streamer>: lost in the middle\\n"), folder=tmp_path / "run",
                        executor=executor)  # fmt: skip
    finally:
        executor.close()


def test_what_earlier_chunks_wrote_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / LOG
    path.write_bytes(b"old\n")
    read = log.Log(tmp_path)
    assert read.begin() == 0
    path.write_bytes(b"new")
    assert read.read(1) == "ew"


def test_ends_and_telling_lines_of_a_long_log_are_read(tmp_path: Path) -> None:
    path = tmp_path / LOG
    words = b"Error in <TFile::ReadBuffer>: error reading all requested bytes\n"
    path.write_bytes(b"first\n" + bytes(range(32, 127)) * 50_000 + b"\n" + words + b"x\n" * MEGABYTE + b"last\n")
    before = on_disk(path)
    assert log.bound(tmp_path, MEGABYTE)
    assert on_disk(path) < before / 4
    text = log.Log(tmp_path).read(0)
    assert text.startswith("first\n")
    assert words.decode() in text
    assert text.endswith("last\n")
    assert log.tail(tmp_path, 5) == "last\n"
    assert "first" not in log.Log(tmp_path).read(3 * MEGABYTE)
    assert log.bound(tmp_path, 64 * MEGABYTE), "a short one stays as it is"
