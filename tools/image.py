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
from urllib.parse import urlsplit

from tools.facility.places import REPOSITORY
from tools.facility.services import PATHS, cache

DEFINITION = "deploy/apptainer/portico.def"
MADE_FROM = (DEFINITION, "deploy/image/install.sh", "pyproject.toml", "requirements-lock.txt")
SOURCES = ("src", "plugins")
PROJECTS = (".", "plugins/distrdf")
PYTHON = "/opt/portico/bin/python"
SUITES = ("bookworm", "trixie")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # of the image
_UNUSED_SECONDS = 7 * 86400


class ImageError(Exception):
    """What keeps the image from being built, with what to do."""


class UnavailableError(ImageError):
    """The image cannot be built on this machine, or not as this user."""


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
    UnavailableError
        If it cannot be built here.
    ImageError
        If building it fails.
    """
    if apptainer() is None:
        raise UnavailableError(f"Apptainer is missing, also in {cache()}; bash tools/services.sh --full installs it")
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
    copy.parent.chmod(0o755)
    try:
        subprocess.run(["cp", "-al", image, copy], check=True)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def install(image: Path, *packages: str) -> None:
    """Install packages into an image, without what they require; the repository is at ``/mnt`` there.

    Raises
    ------
    ImageError
        If pip cannot.
    """
    index = [f"--index-url={found}" for found in _index()]
    pip = [PYTHON, "-m", "pip", "--no-cache-dir", "--quiet", "install", "--no-deps", *index, *packages]
    options = ["--writable", "--no-home", "--pwd", "/", "--bind", f"{REPOSITORY}:/mnt:ro"]
    _apptainer(["exec", *options, *_certificates(), str(image), *pip], "pip could not install into the image")


def _build(base: Path) -> None:
    """Build the definition, with this machine's own mirror."""
    if os.geteuid() != 0:
        raise UnavailableError("debootstrap makes images as root only; build the image as root, and start this again")
    if shutil.which("debootstrap", path=os.pathsep.join(PATHS)) is None:
        raise UnavailableError("the program debootstrap is missing; install it with: sudo apt-get install debootstrap")
    print(f"portico: building the image in {base.parent} (some minutes)", file=sys.stderr)
    given = [("SUITE", _suite()), *(("MIRROR", found) for found in _mirror())]
    given += [("INDEX", found) for found in _index()]
    values = [f"--build-arg={name}={value}" for name, value in given]
    making = Path(tempfile.mkdtemp(prefix="image-making-", dir=base.parent))
    try:
        command = ["build", "--sandbox", *values, *_certificates(), str(making / "image"), DEFINITION]
        _apptainer(command, f"{DEFINITION} could not be built", making)
        (making / "image").chmod(0o755)
        (making / "image").rename(base)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _apptainer(arguments: Sequence[str], problem: str, scratch: Path | None = None) -> None:
    """Run Apptainer as the root of a user namespace of its own: it wants all capabilities, which root may not have."""
    environment = {
        "PATH": os.pathsep.join(PATHS), "HOME": "/root", "LANG": "C.UTF-8",
        "container": "lxc",  # has debootstrap bind devices, which it cannot make in a user namespace
        **({"APPTAINER_TMPDIR": str(scratch), "APPTAINER_CACHEDIR": str(scratch)} if scratch is not None else {}),
    }  # fmt: skip
    waiting = ["unshare", "--user", "--mount", "sh", "-c", 'read -r go && exec "$@"', "sh"]
    with tempfile.TemporaryFile() as said, subprocess.Popen(
        [*waiting, str(apptainer()), *arguments], cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=said,
        stderr=said, umask=0o022,
    ) as process:  # fmt: skip
        try:
            _map_users(process)
        except OSError as error:
            process.kill()
            raise ImageError(f"{problem}: no user namespace can be made: {error}") from error
        process.communicate(b"go\n")
        if process.returncode != 0:
            said.seek(0)
            raise ImageError(f"{problem}:\n{said.read().decode(errors='replace')[-3000:]}")


def _map_users(process: subprocess.Popen[bytes]) -> None:
    """Give a process that makes a user namespace the same users and groups in it."""
    made, ours = Path(f"/proc/{process.pid}"), Path("/proc/self/ns/user").readlink()
    while (made / "ns" / "user").readlink() == ours:
        if process.poll() is not None:
            raise OSError("this kernel forbids it")
        time.sleep(0.01)
    for name in ("uid_map", "gid_map"):
        (made / name).write_text("0 0 65536\n")


def _certificates() -> list[str]:
    """Return the options that show this machine's certificates to pip, if it has others than those of Debian."""
    given = _pip_setting("cert")
    return ["--bind", f"{Path(given[0]).resolve()}:{_CERTIFICATES}"] if given else []


def _index() -> list[str]:
    """Return the index of packages of pip on this machine, if it names one; a password would be kept in the image."""
    found = _pip_setting("index-url")
    if any(urlsplit(url).username is not None for url in found):
        raise UnavailableError("pip's index-url has a user or password, which the image would keep; use one without")
    return found


def _pip_setting(wanted: str) -> list[str]:
    """Return a setting of pip on this machine, if it has one."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (line.partition("=") for line in said.splitlines())
    return [str(ast.literal_eval(value)) for key, _, value in pairs if key.rpartition(".")[2] == wanted][-1:]


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
    """Remove images that nobody has asked for in a week."""
    for path in cache().glob("image-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    try:
        print(image())
    except ImageError as error:
        sys.exit(f"portico: {error}")
