"""Services that tests share. Each is real, runs as an ordinary user, and is stopped with all it started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.services.farm.pool import HTCondorPool
from tests.services.farm.pool import htcondor_pool as start_htcondor
from tests.services.farm.proxy import SlowLink
from tests.services.farm.proxy import slow_link as open_slow_link
from tests.services.farm.slurm import SlurmPool
from tests.services.farm.slurm import slurm_pool as start_slurm
from tests.services.farm.user import User, ordinary_user
from tests.services.farm.xrootd import XRootDServer


@pytest.fixture(scope="session")
def user() -> Iterator[User]:
    """An ordinary user with a home and a Python; run programs with ``user.run`` and ``user.portico``."""
    with ordinary_user() as made:
        yield made


@pytest.fixture(scope="session")
def htcondor_pool(user: User) -> Iterator[HTCondorPool]:
    """A pool of 4 CPUs; ``htcondor_pool.user`` is the user with HTCondor's programs and configuration."""
    with start_htcondor(user) as pool:
        yield pool


@pytest.fixture(scope="session")
def slurm_pool(user: User) -> Iterator[SlurmPool]:
    """A Slurm of 4 CPUs; ``slurm_pool.user`` is the user with its configuration."""
    with start_slurm(user) as pool:
        yield pool


@pytest.fixture
def xrootd_server(user: User) -> Iterator[Callable[..., XRootDServer]]:
    """A function that starts a server, with the arguments of :class:`XRootDServer` after the user."""
    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> XRootDServer:
            server = XRootDServer(user, *arguments, **options)
            stack.callback(server.stop)
            return server.start()

        yield start


@pytest.fixture
def slow_link() -> Iterator[Callable[[XRootDServer, float], SlowLink]]:
    """A function that opens a link of so many bytes a second to a server: ``server.url(path, link.port)``."""
    with ExitStack() as stack:
        yield lambda server, speed: stack.enter_context(open_slow_link(server.port, speed))
