"""An ordinary user: batch systems refuse the jobs of root, and the home of root is closed to others."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from tests.services.farm.need import missing

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class User:
    """An ordinary user with a home in a temporary folder and a Python that it can read."""

    name: str
    uid: int
    gid: int
    home: Path
    python: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def also(self, **environment: str) -> User:
        """Return the same user with more in its environment."""
        return replace(self, environment={**self.environment, **environment})

    def folder(self, name: str) -> Path:
        """Return a new folder of this user; ``name`` is made unique."""
        made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.home))
        made.chmod(0o755)
        return self.own(made)

    def own(self, path: Path) -> Path:
        """Give a file, or a folder with all that is in it, to this user."""
        if os.geteuid() == 0:
            for each in (path, *(path.rglob("*") if path.is_dir() else ())):
                os.chown(each, self.uid, self.gid, follow_symlinks=False)
        return path

    def write(self, path: Path, text: str, mode: int = 0o644) -> Path:
        """Write a file of this user."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return self.own(path)

    def popen(
        self,
        arguments: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = subprocess.STDOUT,
        text: bool = False,
    ) -> subprocess.Popen[Any]:
        """Start a program as this user, in a session of its own."""
        become: dict[str, Any] = {}
        if os.geteuid() == 0:
            become = {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            env={**self.environment, **(env or {})},
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=text,
            start_new_session=True,
            umask=0o022,
            **become,
        )

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user to its end and return what it said.

        With ``check`` the test fails if the program does, and shows what it said.
        """
        process = self.popen(arguments, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            pytest.fail(f"{process.args} took more than {timeout:g} s\n{output[-3000:]}\n{errors[-3000:]}")
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if check and process.returncode != 0:
            pytest.fail(f"{process.args} ended with {process.returncode}\n{output[-3000:]}\n{errors[-3000:]}")
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def portico(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line of portico as this user; options as of :meth:`run`."""
        return self.run([self.python, "-m", "portico.cli", *arguments], **options)


@contextmanager
def ordinary_user(above: Path | None = None) -> Iterator[User]:
    """Make the home of an ordinary user, in this folder; that of the tests themselves if it is not root."""
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    # Short, because the paths of sockets have at most 107 characters.
    home = Path(tempfile.mkdtemp(prefix="pf", dir=above))
    try:
        home.chmod(0o755)
        user = User(entry.pw_name, entry.pw_uid, entry.pw_gid, home, Path())
        user.own(home)
        user = user.also(
            HOME=str(home),
            USER=entry.pw_name,
            LOGNAME=entry.pw_name,
            LANG="C.UTF-8",
            PATH=os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
            EXTRA_CLING_ARGS="-O0",
            MPLCONFIGDIR=str(home / ".matplotlib"),
        )
        yield replace(user, python=readable_python(user))
    finally:
        end_all_in(home)
        shutil.rmtree(home, ignore_errors=True)


def readable_python(user: User) -> Path:
    """Return a Python with portico and all it needs that the user can read."""
    source = REPOSITORY / "src"
    if not _imports(user, Path("/bin/cat"), [source / "portico" / "__init__.py"]):
        missing(f"{user.name} cannot read {source}; services are tested from a folder that all may read")
    test = ["-c", "import portico, distributed, sys; sys.exit(sys.prefix == sys.base_prefix)"]
    if _imports(user, Path(sys.executable), test):
        return Path(sys.executable)
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if not system.exists():
        missing(f"{user.name} cannot read {sys.executable}, and {system} is missing; it is in {system.name}-venv")
    folder = user.home / "python"
    subprocess.run([system, "-I", "-m", "venv", "--without-pip", folder], check=True)
    packages = sysconfig.get_path("purelib")
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # Our sources come first: the packages may have an editable installation of another clone.
    Path(own, "portico_tests.pth").write_text(f"{source}\nimport site; site.addsitedir({packages!r})\n")
    user.own(folder)
    python = folder / "bin" / "python"
    if not _imports(user, python, test):
        said = user.run([python, *test], check=False).stderr[-500:]
        missing(f"{user.name} cannot import portico from {packages} with {system}: {said}")
    return python


def _imports(user: User, program: Path, arguments: Sequence[str | Path]) -> bool:
    try:
        return user.run([program, *arguments], check=False).returncode == 0
    except PermissionError:
        return False


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that were started in a folder, or for it: arguments, environment or place name it."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            told = [process.cwd(), *process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(text.startswith(str(folder)) or f"={folder}" in text for text in told):
            found.append(process)
    return found


def end_all_in(folder: Path) -> list[str]:
    """Kill what is left of a service, with its jobs; return what that was."""
    left = processes_in(folder)
    names = []
    for process in left:
        try:
            names.append(f"{process.pid} {process.name()}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=10)
    return names


def end(process: subprocess.Popen[Any], stop: signal.Signals = signal.SIGTERM, seconds: float = 20) -> None:
    """Ask a program to end, and kill it if it does not."""
    if process.poll() is None:
        process.send_signal(stop)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
