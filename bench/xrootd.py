"""Events per second over XRootD on loopback and from local disk, for the same chunks.

Usage: python bench/xrootd.py [EVENTS]

As on a farm: plain files of zlib-compressed columns, two processes that stay alive, a server of an ordinary user. Both
read from the page cache, so that the disk does not matter. Needs the Debian package xrootd-server.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _common import made_files, paired, run_once

from portico.executors.local import LocalExecutor
from portico.files.storage import storage_of

AIM = 1.1  # times as long as from local disk


@contextmanager
def served(files: list[str]) -> Iterator[str]:
    """Serve copies of files; yield the URL of the server's folder."""
    program = shutil.which("xrootd")
    if program is None:
        sys.exit("no program 'xrootd' on PATH; install the Debian package xrootd-server")
    with tempfile.TemporaryDirectory(prefix="xb") as folder, socket.socket() as probe:
        place = Path(folder)
        for name in ("data", "admin"):
            (place / name).mkdir()
        for file in files:
            shutil.copy(file, place / "data")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        (place / "config").write_text(
            f"xrd.port {port}\nxrd.network nodnr\noss.localroot {place}/data\nall.export / r/w\n"
            f"all.adminpath {place}/admin\nall.pidpath {place}/admin\nxrootd.chksum adler32\n"
        )
        as_user = ["-R", "nobody"] if os.geteuid() == 0 else []
        if as_user:
            for path in (place, *place.rglob("*")):
                shutil.chown(path, "nobody")
        command = [program, *as_user, "-c", str(place / "config"), "-l", str(place / "log")]
        server = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"root://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    files = made_files(events, 10)
    size = sum(Path(file).stat().st_size for file in files)
    with served(files) as url:
        urls = [f"{url}/{Path(file).name}" for file in files]
        executor = LocalExecutor(2)
        try:
            run_once(files, "dimuon", executor), run_once(urls, "dimuon", executor)
            far, near, ratio = paired(
                lambda: run_once(urls, "dimuon", executor)[0], lambda: run_once(files, "dimuon", executor)[0], 5
            )
        finally:
            executor.close()
        print(f"{events:,} events, {size / 1e6:.0f} MB, two processes, warm:")
        print(f"local disk: {near:.2f} s, {events / near:,.0f} events/s")
        print(f"XRootD:     {far:.2f} s, {events / far:,.0f} events/s, {ratio:.2f} times as long (aim {AIM})")
        storage, seconds = storage_of(url), []
        for number in range(5):
            start = time.perf_counter()
            storage.write(f"{url}/out/{number}.root", Path(files[0]))
            seconds.append(time.perf_counter() - start)
        one = Path(files[0]).stat().st_size / 1e6
        print(f"writing {one:.1f} MB, verified: {sorted(seconds)[2]:.3f} s, {one / sorted(seconds)[2]:.0f} MB/s")


if __name__ == "__main__":
    main()
