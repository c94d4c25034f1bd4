"""Files that are installed, for which versions stand, and files of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.environment import included


def test_packages_of_another_environment_on_the_path_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "lib" / "site-packages"
    (packages / "theirs").mkdir(parents=True)
    module, own = packages / "theirs" / "module.py", tmp_path / "own.py"
    assert not included.is_of_the_system(module)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.syspath_prepend(tmp_path)
    included._system_folders.cache_clear()
    try:
        assert included.is_of_the_system(module)
        assert not included.is_of_the_system(own)
    finally:
        included._system_folders.cache_clear()
