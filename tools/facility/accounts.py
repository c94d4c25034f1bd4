"""The users of a facility: accounts of this machine if root starts it, otherwise only who starts it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tools.facility.places import FacilityError, Places, State, write_secret

SERVICE = "nobody"
"""Who runs XRootD and Prometheus, and owns HTCondor's files, if root starts them."""


def service() -> pwd.struct_passwd:
    """Return the account that runs the services."""
    return pwd.getpwnam(SERVICE) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def become(account: pwd.struct_passwd) -> dict[str, Any]:
    """Return the options of `subprocess.Popen` that start a process as an account, if root starts it."""
    if os.geteuid() != 0:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def own(path: Path, account: pwd.struct_passwd) -> Path:
    """Give a file, or a folder with all that is in it, to an account."""
    if os.geteuid() == 0:
        for each in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(each, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return path


def make_accounts(places: Places, state: State, wanted: list[str]) -> None:
    """Make the accounts and homes of users, and a password for each.

    The accounts have no password of this machine: nobody can log in with them but through the hub.

    Raises
    ------
    FacilityError
        If an account is there and has another home.
    """
    state.users = wanted if os.geteuid() == 0 else [service().pw_name]
    for name in state.users:
        home = places.folder / "home" / name
        if os.geteuid() == 0:
            _make(name, home, state)
            places.save(state)
        home.mkdir(exist_ok=True)
        home.chmod(0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(name)
            os.chown(home, account.pw_uid, account.pw_gid)
    _passwords(places, state.users)


def _make(name: str, home: Path, state: State) -> None:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--user-group", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash", name]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            raise FacilityError(f"useradd could not make the account {name}: {said.stderr.strip()}") from None
        state.made.append(name)
        return
    if Path(account.pw_dir) != home:
        raise FacilityError(f"there is an account {name} with another home, {account.pw_dir}; "
                            "choose other names: make facility USERS='ada ben'")  # fmt: skip


def _passwords(places: Places, users: list[str]) -> None:
    path = places.folder / "passwords"
    known = passwords(places)
    text = "".join(f"{name} {known.get(name) or secrets.token_urlsafe(12)}\n" for name in users)
    write_secret(path, text)


def passwords(places: Places) -> dict[str, str]:
    """Return the password of each user."""
    path = places.folder / "passwords"
    return dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}


def remove_accounts(state: State) -> None:
    """Remove the accounts that were made."""
    for name in list(state.made):
        subprocess.run(["userdel", name], capture_output=True, check=True)
        state.made.remove(name)


def copy_for(name: str, source: Path, target: Path) -> None:
    """Copy a file into a user's home, unless the user has one there already."""
    if target.exists():
        return
    missing = [each for each in target.parents if not each.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    for each in (target, *missing):
        own(each, pwd.getpwnam(name))
