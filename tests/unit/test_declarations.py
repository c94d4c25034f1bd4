"""Source text as it is read: declarations of steps, files of C++ that modules reach, environment variables; state."""

from __future__ import annotations

import ctypes
import importlib
import io
import random
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.environment.bundle import Bundle, collect
from portico.errors import ConfigError, PorticoWarning
from portico.step import Needs, forget_needs, needs_of
from portico.worker.globals import Generators, Globals
from portico.worker.opened import expect

HEADERS = Needs("frame", ("a.h",), ("t.json",))
LISTS = "headers=['a.h'], files=['t.json']"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    analysis = tmp_path / "analysis"
    (analysis / "include").mkdir(parents=True)
    (analysis / "a.h").write_text("\n")
    (analysis / "t.json").write_text("{}")
    return analysis


@pytest.fixture
def importing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let modules be imported from the folder, and forget them at the end."""
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    forget_needs()


@pytest.mark.usefixtures("importing")
@pytest.mark.parametrize(
    ("before", "decorator"),
    [
        ("from portico import step as needs", f"needs({LISTS})"),
        ("import portico as p", f"p.step({LISTS})"),
        ("from portico import *", f"step({LISTS})"),
        ("from portico.step import step as s", f"s({LISTS})"),
        ("import portico.step", f"portico.step({LISTS})"),
        ("import portico\nneeds = portico.step", f"needs({LISTS})"),
        (f"import portico\nneeds: object = portico.step({LISTS})", "needs"),
        (f"import functools\nfrom portico import step\nneeds = functools.partial(step, {LISTS})", "needs()"),
        ("from functools import partial as bind\nimport portico as p\nneeds = bind(p.step, headers=['a.h'])",
         "needs(files=['t.json'])"),
        ("from helper import needs", f"needs({LISTS})"),
        ("from helper import *", f"needs({LISTS})"),
        ("import helper", f"helper.needs({LISTS})"),
        ("from helper import both", "both"),
        ("try:\n    from portico import step\nexcept ImportError:\n    def step(**given):\n        return lambda f: f",
         f"step({LISTS})"),
    ],
)  # fmt: skip
def test_a_decorator_is_known_by_any_name(folder: Path, before: str, decorator: str) -> None:
    (folder / "helper.py").write_text(f"from portico import step as needs\nboth = needs({LISTS})\n")
    (folder / "skim.py").write_text(f"{before}\n\n@{decorator}\ndef skim(frame, sample):\n    return {{}}\n")
    assert collect("skim:skim", folder).needs == HEADERS
    importlib.import_module("skim")
    assert needs_of("skim", "skim") == HEADERS


@pytest.mark.parametrize(
    ("before", "decorator", "kind", "arguments"),
    [
        ("from portico import points as p", "p(files=['t.json'])", "points", "point"),
        ("from portico import summary as s", "s", "summary", "results, samples"),
        ("import portico as p\nlast = p.summary", "last", "summary", "results, samples"),
        ("from mine import step", "step(headers=['b.h'])", "frame", "frame, sample"),
    ],
)
def test_other_decorators(folder: Path, before: str, decorator: str, kind: str, arguments: str) -> None:
    (folder / "skim.py").write_text(f"{before}\n\n@{decorator}\ndef skim({arguments}):\n    return {{}}\n")
    assert collect("skim:skim", folder).needs.kind == kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("if True:\n    needs = step(headers=['a.h'])\nelse:\n    needs = step()\n@needs\n", "several definitions"),
        ("needs = step(headers=['a.h']) if True else step()\n@needs\n", "several definitions"),
        ("needs = step(headers=NAMES)\n@needs\n", "written out as lists of strings"),
        ("needs = step(**GIVEN)\n@needs\n", "written out as lists of strings"),
        ("for _ in range(1):\n    ", "at the top level of the module"),
        ("if True:\n    ", "at the top level of the module"),
    ],
)
def test_what_cannot_be_read_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / "skim.py").write_text(f"from portico import step\n{text}def skim(frame, sample): ...\n")
    with pytest.raises(ConfigError, match=words):
        collect("skim:skim", folder)


def bundle(folder: Path, code: str) -> Bundle:
    text = f"import os\nimport ROOT\nfrom pathlib import Path\n{code}\n\ndef skim(frame, sample): ...\n"
    (folder / "skim.py").write_text(text)
    return collect("skim:skim", folder)


@pytest.mark.parametrize(
    "code",
    [
        "ROOT.gInterpreter.Declare('#include \"FILE\"')",
        "ROOT.gInterpreter.Declare('''\n#include <vector>\n  #  include <FILE>\n''')",
        "ROOT.gInterpreter.ProcessLine('#include \"FILE\"')",
        "ROOT.gROOT.LoadMacro('FILE+O')",
        "ROOT.gROOT.ProcessLine('.L FILE+')",
        "ROOT.gROOT.ProcessLine('.x FILE(1, 2)')",
        "cppyy.include('FILE')",
        "HEADER = 'FILE'\nROOT.gInterpreter.Declare(f'#include \"{HEADER}\"')",
        "HERE = os.path.dirname(os.path.abspath(__file__))\nROOT.gROOT.LoadMacro(os.path.join(HERE, 'FILE'))",
        "HERE = Path(__file__).resolve().parent\nROOT.gInterpreter.Declare('#include \"%s\"' % (HERE / 'FILE'))",
        "ROOT.gInterpreter.Declare('#include \"{}/FILE\"'.format(os.path.dirname(__file__)))",
        "ROOT.gInterpreter.Declare('#include \"ROOTFOLDER/FILE\"')",
        "ROOT.gInterpreter.Declare('#include \"' + os.environ['ANALYSIS'] + '/FILE\"')",
        "from paths import MACRO\nROOT.gROOT.LoadMacro(MACRO)",
    ],
)
@pytest.mark.parametrize("name", ["include/x.h", "linked.C"])
def test_files_that_a_module_reaches_count_and_travel(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, name: str
) -> None:
    monkeypatch.setenv("ANALYSIS", str(folder))
    (folder / "include" / "x.h").write_text('#include "deep.h"\n#include "TH1.h"\n#include <vector>\n')
    (folder / "include" / "deep.h").write_text('#include "../../beside.h"\n')
    (folder / "linked.C").symlink_to("include/x.h")
    (folder / "paths.py").write_text(f"MACRO = '{name}'\n")
    beside = folder.parent / "beside.h"
    beside.write_text("int one();\n")
    code = code.replace("FILE", name).replace("ROOTFOLDER", str(folder))
    before = bundle(folder, code)
    outside = f"_outside{beside}"
    assert {"include/x.h", "include/deep.h", outside} <= before.members.keys()
    with zipfile.ZipFile(io.BytesIO(before.archive)) as archive:
        assert archive.read("include/deep.h").decode() == f'#include "../{outside}"\n'
    beside.write_text("int two();\n")
    after = bundle(folder, code)
    assert after.code != before.code
    assert after.included["include/x.h"] != before.included["include/x.h"]


@pytest.mark.parametrize(
    ("code", "variable"),
    [
        ("ROOT.gInterpreter.ProcessLine('.include FOLDER')\nROOT.gInterpreter.Declare('#include \"x.h\"')", ""),
        ("ROOT.gROOT.ProcessLine('.I ../beside')\nROOT.gInterpreter.Declare('#include <x.h>')", ""),
        ("ROOT.gSystem.AddIncludePath('-IFOLDER -Iinclude')\nROOT.gInterpreter.Declare('#include \"x.h\"')", ""),
        ("ROOT.gROOT.SetMacroPath('.:FOLDER')\nROOT.gROOT.LoadMacro('x.h')", ""),
        ("ROOT.gSystem.AddDynamicPath('FOLDER')\nROOT.gSystem.Load('libX')", ""),
        ("ROOT.gInterpreter.Declare('#include \"x.h\"')", "ROOT_INCLUDE_PATH"),
        ("ROOT.gSystem.Load('libX')", "LD_LIBRARY_PATH"),
    ],
)
def test_files_in_folders_that_root_searches_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, variable: str
) -> None:
    beside = folder.parent / "beside"
    beside.mkdir()
    if variable:
        monkeypatch.setenv(variable, f"/nowhere:{beside}")
    codes = set()
    for content in (b"int one();\n", b"int two();\n"):
        for name in ("x.h", "libX.so"):
            (beside / name).write_bytes(content)
        codes.add(bundle(folder, code.replace("FOLDER", str(beside))).code)
    assert len(codes) == 2


def test_libraries_and_macros_of_macros(folder: Path) -> None:
    (folder / "first.C").write_text('R__LOAD_LIBRARY(libMine)\nvoid f() { gROOT->LoadMacro("include/second.C"); }\n')
    (folder / "include" / "second.C").write_text('#include "a.h"\n')
    for name in ("libMine.so", "libMine_rdict.pcm", "libMine.rootmap"):
        (folder / name).write_bytes(b"\x7fELF\xff")
    found = bundle(folder, "ROOT.gROOT.LoadMacro('first.C')")
    reached = {"first.C", "include/second.C", "a.h", "libMine.so", "libMine_rdict.pcm", "libMine.rootmap"}
    assert reached == found.included.keys()
    (folder / "first.C").write_text("#include NAME\n")
    with pytest.raises(ConfigError, match=r"first\.C: #include NAME is a macro"):
        bundle(folder, "ROOT.gROOT.LoadMacro('first.C')")


def test_environment_variables_count_but_for_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "A = os.environ['SCALE'], os.getenv('OTHER', 'x'), os.environ.get('MY_TOKEN'), os.environ['HOME']"
    monkeypatch.setenv("SCALE", "1")
    monkeypatch.delenv("OTHER", raising=False)
    before = bundle(folder, code)
    assert before.variables == {"OTHER": None, "SCALE": "1"}
    monkeypatch.setenv("SCALE", "2")
    assert bundle(folder, code).code != before.code
    (folder / "a.h").write_text('inline double f() { return std::atof(std::getenv("FACTOR")); }\n')
    assert "FACTOR" in bundle(folder, "ROOT.gInterpreter.Declare('#include \"a.h\"')").variables


STATE = """
import array, collections, dataclasses, functools, io, itertools, random, types
import numpy as np
import elsewhere

count, limits, table, names = 0, {"low": 1.0}, np.zeros(3), ["a"]
numbers = itertools.count()
generator, rng = random.Random(1), np.random.default_rng(1)


class Tally:
    total = 0
    def __init__(self):
        self.own = 0


tally = Tally()


def collects(value, into=[]):
    into.append(value)


def closes():
    inner = 0
    def add():
        nonlocal inner
        inner += 1
    return add


add = closes()
steps, cycle = iter([1, 2, 3]), itertools.cycle([1, 2])
buffer, text, floats = bytearray(3), io.StringIO(), array.array("d", [0.0])
objects, bits = np.array([{}, {}], dtype=object), np.random.PCG64(1)
space, bound, method = types.SimpleNamespace(n=0), functools.partial(collects, 1), tally.__init__
made, user = elsewhere.closes(), collections.UserDict()


@dataclasses.dataclass(slots=True)
class Slots:
    n: int = 0


class Named(dict):
    @staticmethod
    def keep(value, into=[]):
        into.append(value)


def counts():
    for number in range(9):
        yield number


slots, named, counted, tallies = Slots(), Named(), counts(), {Tally()}
"""
ELSEWHERE = """
def closes():
    inner = 0
    def add():
        nonlocal inner
        inner += 1
    return add
"""


@pytest.mark.usefixtures("importing")
@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("m.count += 1", ["count"]),
        ("m.limits['low'] = 2.0", ["limits"]),
        ("m.table[1] = 1", ["table"]),
        ("m.names.append('b')", ["names"]),
        ("next(m.numbers)", ["numbers"]),
        ("m.generator.random()", ["generator"]),
        ("m.rng.normal()", ["rng"]),
        ("m.Tally.total += 1", ["Tally"]),
        ("m.tally.own += 1", ["tally"]),
        ("m.collects(1)", ["collects"]),
        ("m.add()", ["add"]),
        ("m.collects.calls = 1", ["collects"]),
        ("next(m.steps)", ["steps"]),
        ("next(m.cycle)", ["cycle"]),
        ("next(m.counted)", ["counted"]),
        ("m.buffer[0] = 1", ["buffer"]),
        ("m.text.write('x')", ["text"]),
        ("m.floats[0] = 1", ["floats"]),
        ("m.objects[0].update(n=1)", ["objects"]),
        ("m.bits.random_raw()", ["bits"]),
        ("m.space.n += 1", ["space"]),
        ("m.made()", ["made"]),
        ("m.user['n'] = 1", ["user"]),
        ("m.slots.n += 1", ["slots"]),
        ("m.named.own = 1", ["named"]),
        ("m.Named.keep(1)", ["Named"]),
        ("[tally.__setattr__('own', 1) for tally in m.tallies]", ["tallies"]),
        ("m.method()", []),
        ("m.extra = 1", ["extra"]),
        ("del m.count", ["count"]),
        ("m.count = 0; m.limits = {'low': 1.0}; m.table = np.zeros(3)", []),
        ("len(m.names), m.limits.get('low'), m.table.sum(), m.tally.own", []),
    ],
)
def test_changes_of_modules_are_seen(folder: Path, statement: str, changed: list[str]) -> None:
    (folder / "kept.py").write_text(STATE)
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    watched = Globals(folder)
    try:
        module = importlib.import_module("kept")
        watched.take()
        assert watched.changed() == []
        exec(statement, {"m": module, "np": np, "random": random})
        assert watched.changed() == [f"kept.{name}" for name in changed]
        watched.drop()
        assert importlib.import_module("kept").count == 0
        assert watched.changed() == []
    finally:
        watched.close()


READS = """
import json
from pathlib import Path

import ROOT


def load(path):
    return json.loads(Path(path).read_text())


def made(path):
    Path(path).write_text("3")
    return load(path)


def opened(path):
    with ROOT.TFile.Open(str(path)) as file:
        return file.GetSize()


def constructed(path):
    return ROOT.TFile(str(path)).GetSize()


def imported(path):
    import beside_the_analysis
    import json.tool
"""


@pytest.mark.usefixtures("importing")
def test_generators_and_histograms_of_root_are_seen(root: Any, folder: Path) -> None:
    (folder / "kept.py").write_text("import ROOT\nrng, h = ROOT.TRandom3(1), ROOT.TH1D('h', '', 2, 0, 2)\n")
    watched = Globals(folder)
    try:
        module = importlib.import_module("kept")
        assert watched.changed() == []
        module.rng.Gaus()
        module.h.Fill(1)
        assert watched.changed() == ["kept.h", "kept.rng"]
    finally:
        watched.close()


SEEDS = """
import random, secrets
import numpy as np
import ROOT

def unseeded(): return np.random.default_rng().random()
def secret(): return secrets.randbelow(9)
def system(): return random.SystemRandom().random()
def made(): return ROOT.TRandom3(0).Rndm()
def reset(): ROOT.TRandom3(1).SetSeed(0)
def seeded(): return np.random.default_rng(3).random() + ROOT.TRandom3(3).Rndm() + ROOT.TRandom2().Rndm()
"""


@pytest.mark.usefixtures("importing")
def test_seeds_that_differ_from_run_to_run_are_a_warning(root: Any, folder: Path) -> None:
    (folder / "seeds.py").write_text(SEEDS)
    watched = Globals(folder)
    try:
        module = importlib.import_module("seeds")
        for name, words in (
            ("unseeded", "default_rng"), ("secret", "operating system"), ("system", "operating system"),
            ("made", "TRandom3 with the seed 0"), ("reset", "TRandom3 with the seed 0"),
        ):  # fmt: skip
            with pytest.warns(PorticoWarning, match=f"{words}.* they differ from run to run"):
                getattr(module, name)()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert module.seeded() == module.seeded()
            np.random.default_rng()  # here, nobody minds
    finally:
        watched.close()


def test_the_generator_of_c_begins_anew(root: Any) -> None:
    generators, c = Generators(), ctypes.CDLL(None)
    generators.restore()
    first = [c.rand(), c.lrand48()]
    c.srand(7)
    generators.restore()
    assert [c.rand(), c.lrand48()] == first


@pytest.mark.usefixtures("importing")
def test_files_that_a_step_reads_unnamed_are_a_warning(
    root: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "reads.py").write_text(READS)
    factors, histograms = tmp_path / "factors.json", tmp_path / "factors.root"
    factors.write_text("2")
    root.TFile.Open(str(histograms), "RECREATE").Close()
    watched = Globals(folder)
    try:
        module = importlib.import_module("reads")
        for read, file in ((module.load, factors), (module.opened, histograms), (module.constructed, histograms)):
            with pytest.warns(PorticoWarning, match=f"the step reads {file}, which does not belong to it"):
                assert read(file)
        monkeypatch.syspath_prepend(tmp_path)
        other = tmp_path / "beside_the_analysis.py"
        other.write_text("")
        for _ in range(2):  # the second time from its compiled copy
            with pytest.warns(PorticoWarning, match=f"the step imports {other}, which does not belong to it") as told:
                module.imported(other)
            assert len({str(warning.message) for warning in told}) == 1
            del sys.modules["beside_the_analysis"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert module.load(folder / "t.json") == {}
            assert module.made(tmp_path / "made.json") == 3
            assert module.load("/proc/self/loginuid") >= 0
            factors.read_text()
            expect({"factors": str(factors)}.values(), str(tmp_path / "input.root"))
            assert module.load(factors) == 2
            expect({"folder": str(tmp_path)}.values())
            assert module.opened(histograms)
    finally:
        expect(())
        watched.close()
