"""The files in the folder of a step: exported results, and the files of summary steps.

They are kept under a key. Those of the current key lie in the folder itself, the others aside; before they are used
again, they are verified by their checksums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from portico.errors import InputError
from portico.files.atomic import make_folder, write_atomic
from portico.files.kept import OLDER, Kept, find
from portico.files.storage import checksum_of, storage_of
from portico.files.troubles import explaining
from portico.runfolder.result_store import ResultStore
from portico.runfolder.stored_paths import refuse_paths
from portico.runfolder.version import SUMMARY

__all__ = ["StepFiles"]


class StepFiles:
    """The files of one step.

    Parameters
    ----------
    run : Path
        The run folder.
    step : str
        Name of the step.
    ledger : ResultStore
        Knows the files of each key.
    """

    def __init__(self, run: Path, step: str, ledger: ResultStore) -> None:
        self._folder, self._aside = run / step, run / OLDER / step
        self._step, self._ledger = step, ledger

    def items(self, key: str | None = None) -> list[dict[str, Any]]:
        """Return the files of a key, by default the current one: name, paths, size, checksum."""
        of = key or self._ledger.files_key(self._step) or ""
        files, _ = self._ledger.files(self._step, of) or ([], "")
        refuse_paths(part for f in files for part in f["name"].split("/"))
        aside = self.aside(of)
        return [{**f, "path": str(self._folder / f["name"]), "aside": str(aside / f["name"])} for f in files]

    def aside(self, key: str) -> Path:
        """Return the folder of the files of a key that is not current."""
        return self._aside / f"@{key[:16]}"

    def find(self, name: str, key: str | None = None) -> Kept | None:
        """Find a file of a key and verify it; None if there is none of that name."""
        for item, kept in zip(self.items(key), self._found(key), strict=True):
            if item["name"] == name:
                return kept
        return None

    def path(self, name: str, key: str | None = None) -> Path:
        """Return where a file of a key lies, after verifying it.

        Raises
        ------
        InputError
            If it is gone, or was changed.
        """
        kept = self.find(name, key)
        if kept is None or kept.fault:
            raise InputError(f"{self._folder / name}: {kept.fault if kept is not None else 'no such file'}")
        return Path(kept.path)

    def _is_current(self, key: str | None) -> bool:
        return key is None or key == self._ledger.files_key(self._step)

    def are_intact(self, key: str) -> bool:
        """Return whether all files of a key are there, as they were written."""
        return self._ledger.has_result(self._step, SUMMARY, key) and not any(kept.fault for kept in self._found(key))

    def faults(self, key: str) -> list[str]:
        """Return what is wrong with the files of a key; nothing if it has none."""
        if not self._ledger.has_result(self._step, SUMMARY, key):
            return []
        return [f"{kept.path}: {kept.fault}" for kept in self._found(key) if kept.fault]

    def _found(self, key: str | None) -> list[Kept]:
        items = self.items(key)
        return find(items if self._is_current(key) else [{**item, "path": item["aside"]} for item in items])

    def bring(self, key: str, made: str = "", inputs: Iterable[Sequence[str]] = ()) -> bool:
        """Make the files of a key the current ones; return whether that can be done.

        Parameters
        ----------
        key : str
            Of the files.
        made, inputs
            As in `ResultStore.use_result`.
        """
        if not self.are_intact(key):
            return False
        found = self._found(key)
        self._put_aside(but=key)
        for item, kept in zip(self.items(key), found, strict=True):
            if kept.path != item["path"]:
                _move(Path(kept.path), Path(item["path"]))
        self._ledger.use_result(self._step, SUMMARY, key, made, inputs)
        return True

    def write(
        self, key: str, contents: Mapping[str, bytes], text: str = "", *,
        made: str = "", inputs: Iterable[Sequence[str]] = (),
    ) -> None:  # fmt: skip
        """Write files and make them the current ones.

        Parameters
        ----------
        key : str
            Of the files.
        contents : mapping of str to bytes
            By name, relative to the folder.
        text, made, inputs
            As in `ResultStore.set_files`.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        self._put_aside(but=key)
        files = []
        for name, content in contents.items():
            path = self._folder / name
            with write_atomic(path) as aside:
                aside.write_bytes(content)
            size, checksum = len(content), checksum_of(path)
            files.append({"name": name, "size": size, "adler32": checksum, "stamp": storage_of(path).stamp(str(path))})
        self._ledger.set_files(self._step, key, files, text, made=made, inputs=inputs)

    def clear(self) -> None:
        """Leave the folder without current files."""
        self._put_aside(but="")
        self._ledger.drop_result(self._step, SUMMARY)

    def _put_aside(self, but: str) -> None:
        """Move the current files to their folder aside, and remove those of them that were changed."""
        if self._is_current(but):
            return
        items = self.items()
        for item, kept in zip(items, find(items), strict=True):
            if not kept.fault and kept.path == item["path"]:
                _move(Path(kept.path), Path(item["aside"]))
            else:
                with explaining(item["path"]), suppress(FileNotFoundError, NotADirectoryError):
                    Path(item["path"]).unlink()


def _move(source: Path, target: Path) -> None:
    with explaining(target):
        make_folder(target.parent)
        source.replace(target)
