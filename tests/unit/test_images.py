"""Container images, as the doctor compares them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from portico.doctor.facts import Facts
from portico.doctor.images import fix_of, images
from portico.doctor.machines import versions
from portico.environment.pins import LIST, pins


def facts(here: dict[str, Any], site_file: str = "", **workers: dict[str, Any]) -> Facts:
    base = {
        "host": "laptop", "python": "3.13.5", "source": "abc", "root": {"version": "6.40", "problem": ""}, "image": "",
        "pins": {}, "versions": {"portico": "0.1.0", "root": "0.1a12", "numpy": "2.4.6"},
    }  # fmt: skip
    return Facts({**base, **here}, {name: {**base, **one} for name, one in workers.items()}, site_file=site_file)


def pinned(digest: str = "a", wrong: dict[str, str] | None = None, **versions: str) -> dict[str, Any]:
    return {"digest": digest, "pinned": {"numpy": "2.4.6", **versions}, "wrong": wrong or {}}


def test_the_list_beside_python_is_compared_with_what_is_installed(tmp_path: Path) -> None:
    assert pins(str(tmp_path)) == {}
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    for name, version in (("My_Package", "1.5"), ("other.one", "2.0")):
        folder = packages / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / LIST).write_text("# a comment\nmy-package==1.4\nother-one==2.0 ; python_version > '3'\nabsent==1\n")
    pins.cache_clear()
    found = pins(str(tmp_path))
    assert found["pinned"] == {"my-package": "1.4", "other-one": "2.0"}
    assert found["wrong"] == {"my-package": "1.5"}
    assert re.fullmatch(r"[0-9a-f]{12}", found["digest"])


def test_without_images_nothing_is_said() -> None:
    assert list(images(facts({}, w={}))) == []


def test_images_as_pinned_are_good() -> None:
    (found,) = images(facts({"image": "p.sif", "pins": pinned()}, w={"image": "p.sif", "pins": pinned()}))
    assert (found.level, found.what) == ("ok", f"1 packages as pinned by {LIST} in the image of this process, w")


def test_what_was_installed_over_an_image_is_told_with_the_file_to_change() -> None:
    (found,) = images(facts({}, w={"image": "p.sif", "pins": pinned(wrong={"numpy": "2.5"})}))
    assert found.level == "warning"
    assert found.what == f"image p.sif on w is not what its {LIST} pins: numpy 2.5, pinned 2.4.6"
    assert f"change {LIST}, and build the image again" in found.fix


def test_images_of_different_lists_are_told_with_what_differs() -> None:
    here = {"image": "new.sif", "pins": pinned("b", dask="2026.8.0")}
    there = {"image": "old.sif", "pins": pinned("a", dask="2026.7.0")}
    (found,) = images(facts(here, "/sites/farm.yaml", w=there))
    assert found.what == (
        "image old.sif on w and image new.sif here are built from different lists: dask 2026.7.0, here 2026.8.0"
    )
    assert found.fix == (
        "use one image: change old.sif ('image' in /sites/farm.yaml), or that of this notebook, new.sif "
        "(singleuser.image of the hub)"
    )


@pytest.mark.parametrize(("here", "there", "words"), [
    ("", "", "install the same everywhere: pip install 'numpy==2.4.6'"),
    ("p.sif", "", "run the workers in this image: set 'image' in /sites/farm.yaml to p.sif"),
    ("", "p.sif", "start this process in p.sif ('image' in /sites/farm.yaml), or put numpy==2.4.6 into"),
    ("p.sif", "p.sif", "p.sif has changed since these workers started: start them again"),
])  # fmt: skip
def test_other_versions_name_the_file_to_change(here: str, there: str, words: str) -> None:
    told = facts(
        {"image": here},
        "/sites/farm.yaml",
        w={"image": there, "versions": {"portico": "0.1.0", "root": "0.1a12", "numpy": "2.5"}},
    )
    (found,) = versions(told)
    assert found.what == "numpy 2.5 on w, 2.4.6 here"
    assert words in found.fix
    assert words in fix_of(told, ["w"], "numpy==2.4.6")
