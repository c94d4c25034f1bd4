"""XRootD servers of an ordinary user on loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.services.farm.need import free_port, program, wait_for
from tests.services.farm.user import User, end, end_all_in
from tools.facility.places import DEPLOY, fill
from tools.facility.services import answers


class XRootDServer:
    """A server of one folder, which all may read and ``user`` may write.

    ``folder`` is made if there is none given. ``read_only``: the server refuses to write. More lines of its
    configuration are given by name, with two underscores for a dot: ``xrd__timeout="idle 10"``.
    """

    def __init__(
        self, user: User, folder: Path | None = None, port: int | None = None, *, read_only: bool = False, **config: str
    ) -> None:
        self._program = program("xrootd", "xrootd-server")
        program("xrdcp", "xrootd-client")
        self.user = user
        self.home = user.folder("x")
        self.folder = folder or user.own(_made(self.home / "data"))
        self.port = port or free_port()
        self._process: subprocess.Popen[Any] | None = None
        mode = "r/o" if read_only else "r/w"
        values = {"PORT": self.port, "DATA": self.folder, "MODE": mode, "FOLDER": self.home}
        self._config = fill(DEPLOY / "xrootd" / "xrootd.conf", self.home / "config", values)
        lines = [f"{name.replace('__', '.')} {value}\n" for name, value in config.items()]
        user.write(self._config, self._config.read_text() + "".join(lines))
        self.log = self.home / "log"

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> XRootDServer:
        """Start the server, also again after :meth:`stop`, on the same port; it answers when this returns."""
        if self._process is None:
            self._process = self.user.popen([self._program, "-c", self._config, "-l", self.log])
            process = self._process
            wait_for(lambda: answers(self.port) or process.poll() is not None, "the start of xrootd", 30, self.log)
            if process.poll() is not None:
                self._process = None
                said = "".join(file.read_text(errors="replace")[-3000:] for file in self.home.glob("log*"))
                pytest.fail(f"xrootd ended with {process.returncode}\n{said}")
            for folder in (self.user.home, self.home):  # xrootd closes what is above its adminpath; munge wants it open
                folder.chmod(0o755)
        return self

    def stop(self) -> None:
        """Stop the server and what it started."""
        if self._process is not None:
            end(self._process)
            self._process = None
            end_all_in(self.home)

    def url(self, path: str = "", port: int | None = None) -> str:
        """Return the URL of a path below the folder; ``port`` is that of a slow link."""
        return f"root://127.0.0.1:{port or self.port}//{path.lstrip('/')}"

    def put(self, source: Path, path: str | None = None) -> str:
        """Copy a file into the folder, owned by the server's user, and return its URL."""
        target = self.folder / (path or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.user.own(target.parent)
        shutil.copyfile(source, target)
        target.chmod(0o644)
        self.user.own(target)
        return self.url(str(target.relative_to(self.folder)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder
