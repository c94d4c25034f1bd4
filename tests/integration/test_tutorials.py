"""ROOT's tutorials df102 to df106, made analyses by portico lint --write, against the plain scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot

import portico
from portico.executors.local import LocalExecutor
from portico.lint import read_script, write
from portico.lint.module import STEP
from tests.tutorials import local_copy, run_plain

pytestmark = pytest.mark.integration


def ported(script: Path, executor: LocalExecutor) -> portico.Run:
    folder = script.parent / "analysis"
    write(read_script(script), folder)
    return portico.run(portico.load_analysis(folder), folder=script.parent / "run", executor=executor)


def assert_equal(found: list[hist.Hist], expected: hist.Hist, *, tolerance: float = 1e-12) -> None:
    """Equal bins and squared weights; the script's threads, and several samples, are added in another order."""
    assert np.sum(expected.values(flow=True)) != 0
    for number in (expected.values, expected.variances):
        total = np.sum([getattr(one, number.__name__)(flow=True) for one in found], axis=0)
        np.testing.assert_allclose(total, number(flow=True), rtol=tolerance, atol=0)
    for one in found:
        np.testing.assert_array_equal(np.asarray(one.axes[0].edges), np.asarray(expected.axes[0].edges))


def test_df102_is_ported_without_a_change(single: LocalExecutor, tmp_path: Path) -> None:
    script = local_copy("df102", tmp_path)
    plain = run_plain("df102", script)
    results = ported(script, single)[STEP]["Run2012BC_DoubleMuParked_Muons"]
    assert_equal([results["h"]], plain["h"], tolerance=0)
    cutflow = results["report"]
    assert cutflow.cuts == ("Events with exactly two muons", "Muons with opposite charge")
    assert (cutflow.reached[0], cutflow.passed[-1]) == (3000, plain["h"].sum(flow=True))


@pytest.mark.full
def test_df103_is_ported_without_a_change(single: LocalExecutor, tmp_path: Path) -> None:
    script = local_copy("df103", tmp_path)
    plain = run_plain("df103", script)
    run = ported(script, single)
    samples = {
        "signal_4mu": "sig_4l", "signal_4el": "sig_4l", "signal_2el2mu": "sig_4l", "background_4mu": "bkg_4mu",
        "background_4el": "bkg_4el", "background_2el2mu": "bkg_2el2mu", "data_4mu": "data_doublemu",
        "data_4el": "data_doubleel", "data_2el2mu": "data_doublemu",
    }  # fmt: skip
    assert set(samples) == set(plain)
    for name, sample in samples.items():
        product = "df_h_" + name.replace("signal", "sig").replace("background", "bkg")
        assert_equal([run[STEP][sample][product]], plain[name])


@pytest.mark.full
def test_df104_is_ported_without_a_change(single: LocalExecutor, tmp_path: Path) -> None:
    script = local_copy("df104", tmp_path)
    plain = run_plain("df104", script)
    run = ported(script, single)
    for sample in ("data", "ggH", "VBF"):
        assert_equal([run[STEP][sample]["hists"]], plain[sample])


@pytest.mark.full
def test_df105_is_ported_but_for_the_sums_of_its_samples(single: LocalExecutor, tmp_path: Path) -> None:
    script = local_copy("df105", tmp_path)
    plain = run_plain("df105", script)
    run = ported(script, single)
    processes: dict[str, Any] = json.loads((tmp_path / "df105.json").read_text())
    for process, samples in processes.items():
        # By hand: the script adds the samples of a process where it draws them, after the event loop.
        added = [run[STEP][sample]["histos"] for _, sample, *_ in samples]
        assert_equal(added, plain[process])


@pytest.mark.full
def test_df106_is_ported_but_for_the_sums_of_its_samples(single: LocalExecutor, tmp_path: Path) -> None:
    script = local_copy("df106", tmp_path)
    plain = run_plain("df106", script)
    run = ported(script, single)
    samples = list(run[STEP])
    # By hand: its one frame has the events of all samples, which are ours to add.
    for number, name in enumerate(("data", "higgs", "zz", "other")):
        assert_equal([run[STEP][sample][f"histos_{number}"] for sample in samples], plain[name])
    for name, product in (("nominal", "histos_mc"), ("weight_up", "histos_mc_weight_up"),
                          ("weight_down", "histos_mc_weight_down")):  # fmt: skip
        assert_equal([run[STEP][sample][product] for sample in samples], plain[name])
    assert not np.array_equal(plain["weight_up"].values(), plain["nominal"].values())
    files = [file for sample in samples for file in run[STEP][sample]["tree"]]
    for column in ("m4l", "weight"):
        written = np.concatenate([uproot.open(file)["tree"][column].array(library="np") for file in files])
        expected = uproot.open(tmp_path / "tree.root")["tree"][column].array(library="np")
        np.testing.assert_array_equal(np.sort(written), np.sort(expected))
