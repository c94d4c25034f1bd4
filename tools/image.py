"""Build the container image of deploy/apptainer/portico.def on this machine, as root: python -m tools.image.

Prints the folder of the image, which Apptainer and HTCondor run as it is. It lies in the cache of tools/services.sh.
Packages are installed once for each definition and list of versions; for each source there is a copy, of hard links.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.facility.places import REPOSITORY
from tools.facility.services import PATHS, cache

DEFINITION = "deploy/apptainer/portico.def"
MADE_FROM = (DEFINITION, "deploy/image/install.sh", "pyproject.toml", "requirements-lock.txt")
SOURCES = ("src", "plugins")
PROJECTS = (".", "plugins/distrdf")
PYTHON = "/opt/portico/bin/python"
SUITES = ("bookworm", "trixie")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # of the image
_PIP = ("index-url", "extra-index-url", "proxy", "timeout", "trusted-host")
_PASSED = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_UNUSED_SECONDS = 86400


class ImageError(Exception):
    """What keeps the image from being built, with what to do."""


def apptainer() -> Path | None:
    """Return the program, of this machine or as tools/services.sh unpacked it; none if there is none."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PATHS])
    for found in (shutil.which("apptainer", path=path), cache() / "apptainer" / "usr" / "bin" / "apptainer"):
        if found is not None and Path(found).exists():
            return Path(found).resolve()
    return None


def image() -> Path:
    """Return the folder of the image of this checkout, built if it is missing.

    Raises
    ------
    ImageError
        If it cannot be built.
    """
    digest = _digest(REPOSITORY / name for name in MADE_FROM)
    base = cache() / f"image-{_suite()}-{digest}"
    made = base.with_name(f"{base.name}-{_digest(_sources())}")
    with _alone():
        if not base.exists():
            _build(base)
        if not made.exists():
            with copy_of(base) as copy:
                install(copy, "--force-reinstall", *(f"/mnt/{project}" for project in PROJECTS))
                copy.rename(made)
        for used in (base, made):
            os.utime(used)
        _prune()
    return made


@contextmanager
def copy_of(image: Path) -> Iterator[Path]:
    """Make a copy of an image beside it, of hard links, and remove it; pip replaces files and changes none."""
    copy = Path(tempfile.mkdtemp(prefix="image-making-", dir=image.parent)) / "image"
    try:
        subprocess.run(["cp", "-al", image, copy], check=True)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def install(image: Path, *packages: str) -> None:
    """Install packages over those of an image, without what they require; the repository is at ``/mnt`` there.

    Raises
    ------
    ImageError
        If pip cannot.
    """
    pip = [PYTHON, "-m", "pip", "--no-cache-dir", "--quiet", "install", "--no-deps", *packages]
    options = ["--writable", "--no-home", "--pwd", "/", "--bind", f"{REPOSITORY}:/mnt:ro"]
    _apptainer(["exec", *options, *_certificates(), str(image), *pip], "pip could not install into the image")


def _build(base: Path) -> None:
    """Build the definition, with this machine's own mirror."""
    if os.geteuid() != 0:
        raise ImageError("debootstrap makes images as root only; build the image as root, and start this again")
    if shutil.which("debootstrap", path=os.pathsep.join(PATHS)) is None:
        raise ImageError("the program debootstrap is missing; install it with: sudo apt-get install debootstrap")
    print(f"portico: building the image in {base.parent} (some minutes)", file=sys.stderr)
    given = [f"--build-arg=SUITE={_suite()}", *(f"--build-arg=MIRROR={mirror}" for mirror in _mirror())]
    making = Path(tempfile.mkdtemp(prefix="image-making-", dir=base.parent))
    try:
        command = ["build", "--sandbox", *given, *_certificates(), str(making / "image"), DEFINITION]
        _apptainer(command, f"{DEFINITION} could not be built", making)
        (making / "image").chmod(0o755)
        (making / "image").rename(base)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _apptainer(arguments: Sequence[str], problem: str, scratch: Path | None = None) -> None:
    program = apptainer()
    if program is None:
        raise ImageError(f"Apptainer is missing, also in {cache()}; bash tools/services.sh --full installs it")
    environment = {
        "PATH": os.pathsep.join(PATHS), "HOME": "/root", "LANG": "C.UTF-8", **_pip_settings(),
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
        **({"APPTAINER_TMPDIR": str(scratch), "APPTAINER_CACHEDIR": str(scratch)} if scratch is not None else {}),
    }  # fmt: skip
    done = subprocess.run(
        [program, *arguments], cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ImageError(f"{problem}:\n{(done.stdout + done.stderr)[-3000:]}")


def _pip_settings() -> dict[str, str]:
    """Return the variables that have pip in the image use this machine's index, but no folders of this machine."""
    found = {}
    for key, value in _pip_config():
        words = [word for word in value.split() if not word.startswith(("file:", "/"))]
        if key in _PIP and words:
            found["PIP_" + key.upper().replace("-", "_")] = " ".join(words)
    return found


def _certificates() -> list[str]:
    """Return the options that show this machine's certificates to pip, if it has others than those of Debian."""
    given = [value for key, value in _pip_config() if key == "cert"]
    return ["--bind", f"{Path(given[-1]).resolve()}:{_CERTIFICATES}"] if given else []


def _pip_config() -> list[tuple[str, str]]:
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (line.partition("=") for line in said.splitlines())
    return [(key.rpartition(".")[2], str(ast.literal_eval(value))) for key, _, value in pairs if value]


def _suite() -> str:
    """Return the release of the image: that of this machine, so that both have the same Python and C library."""
    here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return here if here in SUITES else SUITES[0]


def _mirror() -> list[str]:
    """Return the mirror of Debian in this machine's sources, if there is one."""
    if shutil.which("apt-get") is None or platform.freedesktop_os_release().get("ID") != "debian":
        return []
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in said.splitlines())
    return [row[0] for row in rows if row[1:] == [_suite(), "main"]][:1]


def _sources() -> Iterator[Path]:
    for folder in SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _digest(paths: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"\0{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process builds an image."""
    try:
        cache().mkdir(parents=True, exist_ok=True)
        lock = (cache() / "image.lock").open("a")
    except OSError as error:
        raise ImageError(f"the image cannot be written: {error}; name another folder in PORTICO_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune() -> None:
    """Remove images that nobody has asked for in a day."""
    for path in cache().glob("image-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    try:
        print(image())
    except ImageError as error:
        sys.exit(f"portico: {error}")
