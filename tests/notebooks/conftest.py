"""The pool on which notebooks run."""

from tests.services.conftest import htcondor_pool, user

__all__ = ["htcondor_pool", "user"]
