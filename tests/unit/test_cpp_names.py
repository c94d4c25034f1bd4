"""Names that C++ defines, and whether they can change what other C++ means."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from portico.environment.bundle import collect
from portico.environment.cpp_names import Names, names_in, names_of, words_in


@pytest.mark.parametrize(
    ("text", "everywhere", "inside"),
    [
        ("int f(int x) { if (x) return g(x); return 1; }", {"f"}, set()),
        ("namespace a { template <typename T, int N = 3> T f(T x) { return x; } }", set(), {"f"}),
        ("namespace a::b { const double k = 1.5, m{2}; double list[3]; }", set(), {"k", "m", "list"}),
        ("namespace { int hidden; }", {"hidden"}, set()),
        ('extern "C" { int plain(void); } extern "C" int other();', {"plain", "other"}, set()),
        ("struct Track : Base<int> { int member; int method() { return 1; } }; Track now;", {"Track", "now"}, set()),
        ("enum class Mode { fast, slow }; enum Old { one, two = 2 };", {"Mode", "Old", "one", "two"}, set()),
        ("#define CUT(x) \\\n  ((x) > 3)\n#ifdef OTHER\nint f();\n#endif", {"CUT", "f"}, set()),
        ("// int a;\n/* int b; */ int c = 1; auto s = \"int d;\"; auto r = R\"(int e;)\";", {"c", "s", "r"}, set()),
        ("using Vec = std::vector<double>; using std::sqrt; typedef float Real;", {"Vec", "sqrt", "Real"}, set()),
        ("namespace a { using namespace std; }", {"*"}, {"std"}),
        ("using namespace a;", {"*", "a"}, set()),
        ("bool operator<(const A &x, const A &y) { return true; }", {"*"}, set()),
        ("double Track::momentum() const { return p; }\nint f(int a, int b);", {"momentum", "f"}, set()),
        ("auto f(double x) -> double { return x; }; template <> struct Hash<int> { };", {"f", "Hash"}, set()),
    ],
)  # fmt: skip
def test_defined(text: str, everywhere: set[str], inside: set[str]) -> None:
    names = names_of(text)
    assert names.everywhere == everywhere
    assert names.inside == inside


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("int f(int);", "int f(double);", ""),
        ("double sqrt(float x);", "double g(double x) { return sqrt(x); }", ""),
        ("int good(float);", "", "good(pt)"),
        ("#define pt eta", "double g(double pt);", ""),
        ("namespace a { double sqrt(float x); }", "namespace a { double g(double x) { return sqrt(x); } }", ""),
        ("namespace a { int f(int); }", "int f(double); namespace b { int g() { return f(1.); } }", ""),
        ("using namespace a;", "int g();", ""),
    ],
)
def test_can_change(one: str, other: str, words: str) -> None:
    assert names_of(one).can_change([names_of(other)], words.split("("))


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("namespace a { int f(int x) { if (x) return 1; } }", "int g(int x) { if (x) return 1; }", ""),
        ("namespace a { enum class Mode { fast }; }", "namespace a { bool g(bool fast); }", ""),
        ("namespace a { int charge(int); }", "namespace a { int g(Muon m) { return m.charge + n->charge(); } }", ""),
        ("namespace a { int good(int); }", "namespace b { int g(); }", "good"),
    ],
)  # fmt: skip
def test_cannot_change(one: str, other: str, words: str) -> None:
    assert not names_of(one).can_change([names_of(other)], words.split())


def test_file_that_is_no_text_can_change_anything(tmp_path: Path) -> None:
    library = tmp_path / "libother.so"
    library.write_bytes(b"\x7fELF\xff\xfe")
    assert names_in(library).can_change([], [])
    assert words_in(tmp_path) == frozenset()


def test_steps_of_the_search_share_processes(tmp_path: Path) -> None:
    """Each step of the search takes over the processes of those before it, which saves compilation."""
    before: dict[str, Names] = {}
    for step in ("hnl.simulate:simulate", "hnl.skim:skim", "hnl.select:select", "hnl.control_skim:control_skim",
                 "hnl.control:control"):  # fmt: skip
        bundle = collect(step, tmp_path)
        folder = tmp_path / bundle.digest
        with zipfile.ZipFile(io.BytesIO(bundle.archive)) as archive:
            archive.extractall(folder)
        own = {name: names_in(folder / name) for name in bundle.included}
        words = words_in(folder)
        changing = [n for n, names in before.items() if n not in own and names.can_change(own.values(), words)]
        assert changing == [], step
        before |= own
