"""Start, show and stop the facility: ``python -m tools.facility up|status|down|remove``.

Everything is below one folder, every service listens on loopback only, and is stopped by the number of its own process.
As root, accounts are made for the users, and HTCondor runs every job as its user. An ordinary user gets a facility for
one.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.facility.accounts import passwords, remove_accounts
from tools.facility.demo import EVENTS
from tools.facility.places import REPOSITORY, FacilityError, Places, State
from tools.facility.services import running, stop
from tools.facility.start import SERVICES, up


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Wait for other commands on the same facility."""
    places.folder.mkdir(parents=True, exist_ok=True)
    with (places.folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def status(places: Places, state: State) -> int:
    """Print what runs; return 0 if everything does, otherwise 1."""
    found = {name: running(state, name) for name in SERVICES}
    for name, process in found.items():
        where = f"127.0.0.1:{state.ports[name]}" if name in state.ports else ""
        print(f"{name:<12}{'process ' + str(process.pid) if process else 'not running':<18}{where}".rstrip())
    if all(found.values()):
        print_addresses(places, state)
        return 0
    return 1


def print_addresses(places: Places, state: State) -> None:
    """Print where to log in, and as whom."""
    print(f"\nportico: log in at http://127.0.0.1:{state.ports['proxy']}")
    hidden = "" if sys.stdout.isatty() else f"; passwords: {places.folder / 'passwords'}"
    for name, password in passwords(places).items():
        print(f"         user {name}" + (f", password {password}" if not hidden else ""))
    print(f"         Prometheus: http://127.0.0.1:{state.ports['prometheus']}{hidden}")
    print(f"         from another machine, forward the port first: ssh -L 8000:127.0.0.1:{state.ports['proxy']} HOST")


def main(arguments: Sequence[str]) -> int:
    """Run a command and return the exit status."""
    parser = argparse.ArgumentParser(description="A whole facility on this machine, for this machine alone.")
    parser.add_argument("command", choices=["up", "status", "down", "remove"])
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "facility")
    parser.add_argument("--users", nargs="+", default=["portico-ada", "portico-ben"], help="accounts, as root")
    parser.add_argument("--proxy", type=Path, help="configurable-http-proxy; by default that of npm in .venv/hub")
    parser.add_argument("--entries", type=int, default=EVENTS, help="events of each sample of the demonstration")
    parser.add_argument("--install", action="store_true", help="install missing services with tools/services.sh first")
    given = parser.parse_args(arguments)
    places = Places(given.folder.resolve())
    begun = time.monotonic()
    try:
        with alone(places):
            state = places.load()
            if given.command == "status":
                return status(places, state)
            if given.command == "up":
                if given.install and not all(running(state, name) for name in SERVICES):
                    subprocess.run(["bash", REPOSITORY / "tools" / "services.sh", "--facility"], check=False)
                up(places, state, given.users, given.proxy, given.entries)
                print_addresses(places, state)
                if os.geteuid() != 0:
                    print("         for you alone; for several users, root starts one, in a clone that all may read")
                print(f"portico: the facility is up ({time.monotonic() - begun:.0f} s)")
                return 0
            stopped = stop(places, state)
            print(f"portico: stopped {', '.join(stopped) if stopped else 'nothing, since nothing ran'}")
            if given.command == "remove":
                remove_accounts(state)
                shutil.rmtree(places.folder)
    except FacilityError as error:
        print(f"portico: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the output may go to `head`
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
