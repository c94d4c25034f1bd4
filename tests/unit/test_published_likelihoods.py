"""Published likelihoods: archives as HEPData has them, what is in them, and what of them is chosen."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyhf
import pytest
from click.testing import CliRunner

from portico.cli.limit import limit
from portico.errors import ConfigError, InputError
from portico.stats import archive
from portico.stats.archive import members
from portico.stats.model_file import list_models, read_model
from portico.stats.published import Published
from portico.stats.workspace import Workspace

MU = {"name": "mu", "type": "normfactor", "data": None}


def background(name: str, events: list[float]) -> dict[str, Any]:
    """A workspace of the background alone, with a validation region that patches remove."""
    return {
        "channels": [
            {"name": name, "samples": [{"name": "b", "data": events, "modifiers": []}]},
            {"name": "VR", "samples": [{"name": "b", "data": [100.0], "modifiers": []}]},
        ],
        "observations": [{"name": name, "data": events}, {"name": "VR", "data": [99.0]}],
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def patch(*signal: float) -> list[dict[str, Any]]:
    sample = {"name": "signal", "data": list(signal), "modifiers": [MU]}
    return [
        {"op": "remove", "path": "/channels/1"},
        {"op": "add", "path": "/channels/0/samples/-", "value": sample},
    ]


def patch_set(workspace: dict[str, Any], **patches: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"}, "description": "signals", "labels": ["m1", "m2"],
            "digests": {"sha256": pyhf.utils.digest(workspace)},
        },
        "patches": [
            {"metadata": {"name": name, "values": [int(word) for word in name.split("_")[1:]]}, "patch": of}
            for name, of in patches.items()
        ],
        "version": "1.0.0",
    }  # fmt: skip


A, B = background("A", [50.0, 20.0]), background("B", [10.0, 20.0])
SETS = {
    "RegionA/BkgOnly.json": A,
    "RegionA/patchset.json": patch_set(A, C1_300_50=patch(6, 5), C1_300_100=patch(6, 10)),
    "RegionB/BkgOnly.json": B,
    "RegionB/patchset.json": patch_set(B, C1_300_50=patch(3, 5), C1_400_50=patch(4, 5)),
}


def encoded(content: object) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()


def tar(files: dict[str, Any], mode: str = "w:gz") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as opened:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(encoded(content))
            opened.addfile(info, io.BytesIO(encoded(content)))
    return raw.getvalue()


def zipped(files: dict[str, Any]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, encoded(content))
    return raw.getvalue()


def put(path: Path, content: object) -> Path:
    path.write_bytes(encoded(content))
    return path


def signal_of(model: object) -> list[float]:
    assert isinstance(model, Workspace)
    (channel,) = model.spec["channels"]  # the other one is removed
    found: list[float] = next(s["data"] for s in channel["samples"] if s["name"] == "signal")
    return found


# what is found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar.gz", tar(SETS)),
        ("a.tgz", tar({f"./{name}": content for name, content in SETS.items()})),
        ("a.tar", tar(SETS, "w")),
        ("a.tar.xz", tar(SETS, "w:xz")),
        ("a.zip", zipped(SETS)),
        ("a.bin", zipped(SETS)),  # known by its bytes
    ],
)
def test_archives_of_every_kind(tmp_path: Path, name: str, content: bytes) -> None:
    listing = list_models(put(tmp_path / name, content))
    assert [model.name for model in listing.models] == ["RegionA/BkgOnly.json", "RegionB/BkgOnly.json"]
    assert listing.models[0].channels == ("A", "VR")
    assert listing.models[0].measurements == (("fit", "mu"),)
    assert not listing.models[0].signal
    assert [(of.name, of.workspace) for of in listing.patch_sets] == [
        ("RegionA/patchset.json", "RegionA/BkgOnly.json"), ("RegionB/patchset.json", "RegionB/BkgOnly.json")
    ]  # fmt: skip
    assert listing.patch_sets[1].labels == ("m1", "m2")
    assert listing.patch_sets[1].patches == (("C1_300_50", (300, 50)), ("C1_400_50", (400, 50)))


def test_an_archive_in_an_archive_and_a_folder(tmp_path: Path) -> None:
    submission = {
        "HEPData-1/submission.yaml": b"a: 1", "HEPData-1/likelihoods.tar.gz": tar(SETS),
        "HEPData-1/broken.json": b'{"x":', "__MACOSX/._BkgOnly.json": b"{}", "HEPData-1/README": b"text",
    }  # fmt: skip
    path = put(tmp_path / "submission.zip", zipped(submission))
    inner = "HEPData-1/likelihoods.tar.gz/RegionA/BkgOnly.json"
    listing = list_models(path)
    assert listing.models[0].name == inner
    assert [name for name, _ in listing.others] == ["HEPData-1/broken.json"]
    assert signal_of(read_model(path, ["C1_300_50"], workspace="RegionA")) == [6, 5]
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "unpacked")
    assert signal_of(read_model(tmp_path / "unpacked", ["C1_400_50"])) == [4, 5]


def test_a_compressed_workspace(tmp_path: Path) -> None:
    full = {**A, "channels": [{"name": "A", "samples": [
        {"name": "b", "data": [50.0, 20.0], "modifiers": []}, {"name": "signal", "data": [6.0, 5.0], "modifiers": [MU]}
    ]}]}  # fmt: skip
    assert signal_of(read_model(put(tmp_path / "ws.json.gz", gzip.compress(encoded(full))))) == [6, 5]
    put(tmp_path / "bkg.json", A)
    put(tmp_path / "set.json.gz", gzip.compress(encoded(SETS["RegionA/patchset.json"])))
    for text in ("set.json.gz:C1_300_100", "set.json.gz:300,100"):
        assert signal_of(read_model(tmp_path / "bkg.json", [f"{tmp_path}/{text}"])) == [6, 10]
    with pytest.raises(ConfigError, match=r"say which patch as .*set\.json\.gz:NAME; valid: C1_300_100, C1_300_50"):
        read_model(tmp_path / "bkg.json", [tmp_path / "set.json.gz"])


# what is chosen


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return put(tmp_path / "two.tar.gz", tar(SETS))


@pytest.mark.parametrize(
    ("patch", "workspace", "signal"),
    [
        ("C1_400_50", "", [4, 5]),  # in one set, whose digest names the workspace
        ("C1_300_50", "RegionA", [6, 5]),
        ("C1_300_50", "RegionB/BkgOnly", [3, 5]),
        ("300,50", "RegionB/BkgOnly.json", [3, 5]),
        ("RegionB/patchset.json:C1_300_50", "", [3, 5]),
    ],
)
def test_names_and_values_choose(two: Path, patch: str, workspace: str, signal: list[float]) -> None:
    model = read_model(two, [patch], workspace=workspace)
    assert signal_of(model) == signal
    assert isinstance(model, Workspace)
    (note,) = model.notes
    assert note.startswith("observations of channel 'VR', which does not exist, are not used: a patch may have removed")


@pytest.mark.parametrize(
    ("patches", "workspace", "message"),
    [
        (
            [],
            "",
            r"two\.tar\.gz has several workspaces: choose one with --workspace NAME; valid: RegionA/BkgOnly\.json, ",
        ),
        (["C1_300_50"], "", r"several workspaces: choose one with --workspace"),
        ([], "BkgOnly.json", r"--workspace BkgOnly\.json may be any of RegionA/BkgOnly\.json, RegionB/BkgOnly\.json"),
        ([], "RegionC", r"no 'RegionC' is in it; did you mean|no 'RegionC' is in it; valid: RegionA"),
        (["C1_300_5O"], "", r"no patch 'C1_300_5O'; did you mean 'C1_300_50'\?"),
        (
            [],
            "RegionA",
            r"RegionA/BkgOnly\.json has no signal.*--patch NAME, for example C1_300_50, C1_300_100; .* --list",
        ),
    ],
)
def test_what_is_not_clear_is_asked(two: Path, patches: list[str], workspace: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_model(two, patches, workspace=workspace)


def test_single_patches_of_an_archive(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.tar.gz", tar({"lh/BkgOnly.json": A, "lh/s_1.json": patch(1, 2), "lh/s_2.json": patch(3, 4)})
    )
    assert list_models(path).patches == ("lh/s_1.json", "lh/s_2.json")
    assert signal_of(read_model(path, ["s_2"])) == [3, 4]
    assert signal_of(read_model(path, ["lh/s_1.json"])) == [1, 2]
    put(tmp_path / "bkg.json", A)
    assert signal_of(read_model(tmp_path / "bkg.json", [f"{path}:s_1"])) == [1, 2]
    with pytest.raises(ConfigError, match="is not an archive; leave out --workspace X"):
        read_model(tmp_path / "bkg.json", workspace="X")


def test_a_set_of_another_workspace_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.zip", zipped({"BkgOnly.json": A, "patchset.json": SETS["RegionB/patchset.json"]}))
    assert list_models(path).patch_sets[0].workspace == ""
    with pytest.raises(InputError, match=r"patchset\.json belongs to another workspace than .*: the sha256 digest is"):
        read_model(path, ["C1_300_50"])


# what is hostile or damaged


def test_members_are_only_read_in_memory(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as opened:
        opened.addfile(link)
        for name in ("../../up.json", "/abs/olute.json", "a\x1b[31m.json"):
            info = tarfile.TarInfo(name)
            info.size = 2
            opened.addfile(info, io.BytesIO(b"{}"))
    path = put(tmp_path / "a.tar", raw.getvalue())
    assert [name for name, _ in members(path, lambda _, __: True)] == ["up.json", "abs/olute.json", "a\x1b[31m.json"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]
    shown = CliRunner().invoke(limit, [str(path), "--list"])
    assert "\x1b" not in shown.output


@pytest.mark.parametrize("content", [b"{" + b" " * 3000, b"[" * 3000])
@pytest.mark.parametrize("wrap", [gzip.compress, lambda raw: tar({"a.json": raw}), lambda raw: zipped({"a.json": raw}),
                                  lambda raw: zipped({"a.tar.gz": tar({"a.json": raw})})])  # fmt: skip
def test_bombs_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any, content: bytes) -> None:
    path = put(tmp_path / "a.archive", wrap(content))
    monkeypatch.setattr(archive, "_LARGEST", 2000)
    with pytest.raises(InputError, match=r"has more than .* when it is decompressed, too much"):
        list_models(path)
    monkeypatch.setattr(archive, "_LARGEST", 2**20)
    monkeypatch.setattr(archive, "_ALTOGETHER", 1000)
    with pytest.raises(InputError, match="when it is decompressed; unpack what you need"):
        list_models(path)


def test_bytes_that_are_skipped_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.tar.gz", tar({"zeros.root": bytes(100_000), "a.json": A}))
    monkeypatch.setattr(archive, "_ALTOGETHER", 50_000)
    with pytest.raises(InputError, match="when it is decompressed"):
        list_models(path)
    monkeypatch.setattr(archive, "_ALTOGETHER", 10**6)
    monkeypatch.setattr(archive, "_MOST", 1)
    with pytest.raises(InputError, match="more than 1 members"):
        list_models(path)


def test_archives_within_archives_end(tmp_path: Path) -> None:
    raw = encoded(A)
    for _ in range(6):
        raw = gzip.compress(raw)
    with pytest.raises(InputError, match="archives in archives are read 3 deep"):
        list_models(put(tmp_path / "a.gz", raw))


@pytest.mark.parametrize(
    "raw", [tar(SETS)[:-200], gzip.compress(encoded(A))[:-9], zipped(SETS)[:-40], b"\x1f\x8bxx", b"PK\x03\x04xx"]
)
def test_damaged_archives(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.archive: .*cannot be read"):
        list_models(put(tmp_path / "a.archive", raw))


def test_archives_without_a_workspace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no JSON and no datacard is in it"):
        read_model(put(tmp_path / "a.zip", zipped({"README": b"text"})))
    with pytest.raises(InputError, match=r"no workspace is in it; patches: s\.json"):
        read_model(put(tmp_path / "b.zip", zipped({"s.json": patch(1, 2)})))
    twice = b'{"channels": [{"name": "A"}], "measurements": [{"name": "a"}], "version": "1", "version": "1"}'
    with pytest.raises(InputError, match=r"c\.zip: w\.json: key 'version' appears twice"):
        read_model(put(tmp_path / "c.zip", zipped({"w.json": twice})))


# the command


def test_the_listing_is_printed(two: Path) -> None:
    text = CliRunner().invoke(limit, [str(two), "--list"]).output
    assert "RegionA/BkgOnly.json   pyhf     fit           mu            by a patch   2: A, VR" in text
    assert "RegionB/patchset.json: 2 patches of RegionB/BkgOnly.json" in text
    assert "C1_400_50   400   50" in text
    assert f"for example: portico limit {two} --workspace RegionA/BkgOnly.json --patch C1_300_50" in text
    listed = json.loads(CliRunner().invoke(limit, [str(two), "--list", "--json"]).stdout)
    assert listed["workspaces"][0]["measurements"] == [{"name": "fit", "poi": "mu"}]
    assert listed["patch_sets"][1]["patches"][1] == {"name": "C1_400_50", "values": [400, 50]}
    done = CliRunner().invoke(limit, [str(two), "--patch", "C1_400_50", "--json"])
    assert json.loads(done.stdout)["limit"]["observed"] > 0
    assert CliRunner().invoke(limit, [str(two)]).exit_code == 2


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("model.json", "../model.json"):
            archive.writestr(name, json.dumps({"version": "1.0.0"}))
    with pytest.raises(InputError, match=r"two\.zip: two files in it are called 'model\.json'"):
        Published(path).listing  # noqa: B018
