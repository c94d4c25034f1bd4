"""The report: complete, self-contained, safe against what users write, the same twice, and small."""

from __future__ import annotations

import base64
import io
import re
import time
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portico.analysis.plotting import PlotStyle, groups_of
from portico.errors import RunFolderError
from portico.report import write_report
from portico.report.cutflows import flows_of, yields_of
from portico.report.histograms import split_names
from portico.report.labels import to_html
from portico.report.packing import Parts
from portico.report.svg import curve, draw, to_text
from portico.results.product import Product, ProductKind
from portico.results.view import Results
from tests.made_runs import HOSTILE, axis, cutflow, drawn, heat, histogram, make_run, unpacked

KINDS = {"data": "data", "qcd": "background", "top": "background", "hnl": "signal"}


class Tags(HTMLParser):
    """Collects every tag, and the addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in {"src", "href", "data", "srcset", "xlink:href"}
        ]


def parse(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_report_says_what_ran_and_what_came_out(tmp_path: Path) -> None:
    products = {
        "mass": histogram(5000),
        "cutflow": cutflow(1000, 554, 415),
        "n": Product(ProductKind.COUNT, {"operation": "Count"}, {"value": np.array([415])}),
    }
    path = make_run(
        tmp_path / "run",
        {"signal": products, "data": products},
        values={"limits": {"a": {"obs": 1.25, "exp": [0.5, 1.0]}, "b": {"obs": 2.5, "exp": [1, 2]}}},
        pictures={"exclusion.png": png()},
    )
    text = write_report(path).read_text()
    for expected in ("histograms", "limits", "1.2.3", "415", "signal", "200,000", "420 MB", "local", "1.25", "0.5, 1"):
        assert expected in text, expected
    assert text.index('alt="exclusion"') < text.index('id="plots"') < text.index('id="performance"')
    assert "partial" not in re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    (flow,) = unpacked(text)["index"]["flows"]["histograms"]
    assert flow["cuts"] == ["two muons", "opposite charge"]
    assert flow["rows"]["signal"] == {"n": [1000, 554, 415]}


def test_what_is_not_drawn_is_named(tmp_path: Path) -> None:
    """Histograms of three axes and profiles of two, unless they are blinded."""
    axes = [axis(2, 0, 1), axis(3, 0, 1), axis(1, 0, 1)]
    arrays = {"values": np.zeros(60), "sumw2": np.zeros(0), "stats": np.zeros(13), "entries": np.array([1234.0])}
    cube = Product(ProductKind.HISTOGRAM, {"class": "TH3D", "name": "cube", "title": "", "axes": axes}, arrays)
    meta = {"class": "TProfile2D", "name": "plane", "title": "", "axes": axes[:2], "option": ""}
    plane = Product(ProductKind.PROFILE, meta, {**arrays, "bin_entries": np.zeros(20), "bin_sumw2": np.zeros(0)})
    manifest = {"samples": KINDS, "blind": {"cube": [[0.2, 0.3]]}}
    products = {"cube": cube, "plane": plane, "map": heat()}
    text = write_report(make_run(tmp_path / "run", {"data": products, "qcd": products}, manifest=manifest)).read_text()
    (table,) = re.findall(r"<h3>Written</h3>.*?</table>", text, re.DOTALL)
    assert re.findall(r"<t[hd]>([^<]*)</t[hd]>", table) == [
        "sample", "cube", "plane",
        "data", "blinded", "2 x 3 bins, 1,234 entries",
        "qcd", "2 x 3 x 1 bins, 1,234 entries", "2 x 3 bins, 1,234 entries",
    ]  # fmt: skip


def test_report_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"signal": {"mass": histogram(10), "map": heat()}}, values={"a": 1},
                    pictures={"p.png": png()})  # fmt: skip
    text = write_report(path).read_text()
    page = parse(text)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert "img" in page.tags
    assert all(a.startswith(("data:image/webp;base64,", "#")) for a in page.addresses)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    policy = unescape(policy)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]


def test_pictures_are_on_white_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    run = make_run(tmp_path / "run", {}, values={"a": 1}, pictures={"clear.png": buffer.getvalue(), "x.png": b"text"})
    text = write_report(run).read_text()
    (address,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(address))) as image:
        assert image.convert("RGB").getextrema() == ((255, 255),) * 3
    assert "1 more pictures are in" in text


def test_every_address_within_the_page_leads_somewhere(tmp_path: Path) -> None:
    results = {"s": {"mass": histogram(9), "cutflow": cutflow(3, 2, 1)}}
    text = write_report(make_run(tmp_path / "run", results, failure="x", state="failed")).read_text()
    wanted = {address[1:] for address in parse(text).addresses if address.startswith("#")}
    assert len(wanted) >= 6
    assert wanted <= set(re.findall(r'id="([^"]+)"', text))


def test_hostile_names_and_messages_are_text(tmp_path: Path) -> None:
    products = {
        HOSTILE: histogram(10, title=HOSTILE),
        "cutflow": cutflow(10, 5, 1, names=(HOSTILE, "b")),
        "map": heat(),
    }
    plot = {"label": HOSTILE, "groups": [{"label": HOSTILE, "samples": ["t"]}]}
    path = make_run(
        tmp_path / "run",
        {"s<b>": products, "t": products},
        state="failed",
        failure=HOSTILE,
        values={HOSTILE: {HOSTILE: HOSTILE}, "x": [HOSTILE]},
        manifest={"samples": {"s<b>": "signal"}, "plot": plot},
    )
    text = write_report(path).read_text()
    page = parse(text)
    assert page.tags.count("script") == 2 + len(unpacked(text)), "Plotly, the page's own, and data"
    assert "<script>alert" not in text
    assert "s&lt;b&gt;" in text
    assert "{{ 7*7 }}" in text
    content = drawn(text, "histograms", "", HOSTILE)
    assert content["x"] == to_html(HOSTILE)
    assert "<" not in content["x"]
    groups = unpacked(text)["index"]["groups"]
    assert {group["n"] for group in groups} == {"s&lt;b&gt;", to_html(HOSTILE)}


def test_partial_run_is_marked_at_the_top_and_on_every_plot(tmp_path: Path) -> None:
    products = {f"h{i}": histogram(100) for i in range(3)}
    path = make_run(tmp_path / "run", {"data": products}, state="partial", failure="page checksum verification failed")
    text = write_report(path).read_text()
    assert text.index("This run is partial") < text.index("<section")
    assert unpacked(text)["index"]["partial"] is True
    assert "page checksum verification failed" in text
    assert "/data/data.root" in text
    assert "1 of 2 chunks are missing" in text
    assert unpacked(text)["part-1"]["spans"][-1][-1] == "input"


def test_a_run_without_anything_has_a_report(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path / "run", {}, chunks=0)).read_text()
    assert 'id="plots"' not in text
    assert "Nothing: all 0 chunks" in text


def test_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", {"data": {"mass": histogram(100), "map": heat()}}, values={"a": 1},
                    pictures={"p.png": png()})  # fmt: skip
    first = write_report(path, tmp_path / "a.html").read_bytes()
    assert write_report(path, tmp_path / "b.html").read_bytes() == first


def test_groups_are_drawn_as_one(tmp_path: Path) -> None:
    names = ("SR_mass", "SR_pt", "CR_mass", "CR_pt")
    results = {sample: {name: histogram(100) for name in names} for sample in KINDS}
    plot = {
        "groups": [{"label": "p_{T} > 1", "samples": ["qcd", "top"], "scale": 2.0}],
        "histograms": {"mass": {"x": "m_{#mu#mu}", "log": True}},
    }
    text = write_report(make_run(tmp_path / "run", results, manifest={"samples": KINDS, "plot": plot})).read_text()
    content, index = drawn(text, "histograms", "SR", "mass"), unpacked(text)["index"]
    assert [(g["n"], g["k"]) for g in index["groups"]] == [
        ("data", "data"), ("p<sub>T</sub> &gt; 1 (\N{MULTIPLICATION SIGN} 2)", "stack"), ("hnl", "line"),
    ]  # fmt: skip
    assert index["groups"][0]["c"] == "#000000"
    assert (content["x"], content["log"]) == ("m<sub>μμ</sub>", 1)
    both = sum(results[name]["SR_mass"].arrays["values"][1:-1] for name in ("qcd", "top"))
    assert np.allclose(content["g"]["1"]["v"], 2 * both, rtol=1e-4)
    assert np.allclose(content["g"]["1"]["u"], 2 * np.sqrt(both), rtol=1e-2)
    assert "u" not in content["g"]["0"], "errors of counts follow from them"


def test_a_sum_says_what_it_lacks(tmp_path: Path) -> None:
    """Samples of a group without a result, and histograms with other bins, which cannot be added."""
    other = {
        "mass": Product(ProductKind.HISTOGRAM, {**histogram(9).meta, "axes": [axis(40, 0, 3)]}, histogram(9).arrays)
    }
    plot = {"groups": [{"label": "all", "samples": ["qcd", "top"]}]}
    manifest = {"samples": KINDS, "plot": plot}
    for number, (results, words) in enumerate((
        ({"data": {"mass": histogram(9)}, "qcd": {"mass": histogram(9)}}, "without top"),
        ({"data": {"mass": histogram(9)}, "qcd": {"mass": histogram(9)}, "top": other}, "top: other bins, not drawn"),
        ({"data": {"mass": histogram(9)}, "hnl": other}, "hnl: other bins, not drawn"),
        ({"data": {"mass": histogram(9)}, "hnl": {"mass": histogram(9)}}, None),
    )):  # fmt: skip
        text = write_report(make_run(tmp_path / f"{number}", results, manifest=manifest)).read_text()
        assert drawn(text, "histograms", "", "mass").get("w") == words


def test_a_yield_says_what_it_lacks(tmp_path: Path) -> None:
    """A sample of a group, or a group of the background, that has no cutflow or not this one."""
    flow, other = cutflow(9, 4, 2), cutflow(9, 3, 1)
    kinds = {"data": "data", "qcd_1": "background", "qcd_2": "background", "top": "background", "w": "background"}
    plot = {"groups": [{"label": "qcd", "samples": ["qcd_*"]}]}
    all_of = {name: {"cutflow": flow, "cutflow_b": other} for name in kinds}
    for number, (left_out, lines) in enumerate((
        ({}, []),
        ({"qcd_2": ("cutflow", "cutflow_b")}, ["All cuts: without qcd_2.", "b: without qcd_2."]),
        ({"qcd_2": ("cutflow_b",), "top": ("cutflow_b",)}, ["b: without qcd_2, top."]),
        ({"w": ("cutflow", "cutflow_b")}, ["All cuts: without w.", "b: without w."]),
        ({"data": ("cutflow",)}, []),
    )):  # fmt: skip
        results = {s: {n: f for n, f in of.items() if n not in left_out.get(s, ())} for s, of in all_of.items()}
        run = make_run(tmp_path / f"{number}", results, manifest={"samples": kinds, "plot": plot})
        text = write_report(run).read_text()
        assert re.findall(r'<p class="note">(.*: without .*)</p>', text) == lines


def test_entries_are_not_added_to_yields(tmp_path: Path) -> None:
    flow = cutflow(900, 400, 200)
    weights = np.array([90.0, 40, 20])
    weighted = Product(flow.kind, flow.meta, {**flow.arrays, "weights": weights, "squares": weights / 10})
    kinds = {"data": "data", "qcd_1": "background", "qcd_2": "background", "top": "background"}
    plot = {"groups": [{"label": "qcd", "samples": ["qcd_*"]}]}
    flows = {"data": flow, "qcd_1": weighted, "qcd_2": flow, "top": weighted}
    results = {name: {"cutflow": of} for name, of in flows.items()}
    run = make_run(tmp_path / "run", results, manifest={"samples": kinds, "plot": plot})
    groups = groups_of(PlotStyle.model_validate(plot), kinds)
    found = yields_of(flows_of({name: Results(name, of) for name, of in results.items()}), groups)
    ((_, ends),) = found.rows
    assert found.columns == ("data", "background", "qcd", "top")
    assert [end and end[0] for end in ends] == [200, 40, 20, 20]
    assert "All cuts: without qcd_2." in write_report(run).read_text()


def test_blinded_data_are_not_in_the_file(tmp_path: Path) -> None:
    varied = {"mass": histogram(5000), "mass_up": histogram(5000, variation=["mass", "pt:up"])}
    results = dict.fromkeys(KINDS, varied)
    manifest = {"samples": KINDS, "blind": {"mass": [[0.9, 1.1], [1.96, 2.5]]}}
    text = write_report(make_run(tmp_path / "run", results, manifest=manifest)).read_text()
    for variation in ("", "pt:up"):
        groups = drawn(text, "histograms", "", "mass", variation)["g"]
        assert [i for i, x in enumerate(groups["0"]["v"]) if x is None] == [18, 19, 20, 21, 39]
        assert "o" not in groups["0"], "overflow may be blinded, too"
        assert None not in groups["1"]["v"]
    shown = write_report(make_run(tmp_path / "open", results, manifest={"samples": KINDS})).read_text()
    assert None not in drawn(shown, "histograms", "", "mass")["g"]["0"]["v"]


def test_two_hundred_samples_stay_small(tmp_path: Path) -> None:
    few = [histogram(2000) for _ in range(50)]
    names = [f"{category}_v{v}" for category in "abcdefghij" for v in range(20)]
    kinds = {f"qcd_{i}": "background" for i in range(150)} | {f"hnl_{i}": "signal" for i in range(50)}
    results = {sample: {name: few[(i + k) % 50] for k, name in enumerate(names)} for i, sample in enumerate(kinds)}
    path = make_run(tmp_path / "run", results, manifest={"samples": kinds}, chunks=1)
    started = time.process_time()
    report = write_report(path)
    assert time.process_time() - started < 120
    assert report.stat().st_size < 8_000_000
    assert len(unpacked(report.read_text())["index"]["plots"]["histograms"]) == 200


def test_what_is_left_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.report.content._DATA", 30_000)
    monkeypatch.setattr("portico.report.packing._PART", 20_000)
    random = np.random.default_rng(1)
    products = {}
    for i in range(400):
        products[f"h{i}"] = made = histogram(5)
        made.arrays["values"][:] = random.random(len(made.arrays["values"]))
    text = write_report(make_run(tmp_path / "run", {"s": products})).read_text()
    kept = len(unpacked(text)["index"]["plots"]["histograms"])
    assert 0 < kept < 400
    assert f"{400 - kept} of 400 histograms and variations of step histograms are not in this file" in text


def test_parts_hold_to_their_limit() -> None:
    parts = Parts(10_000)
    random = np.random.default_rng(3)
    places = parts.add([random.random(20_000).tolist()] for _ in range(9))
    assert places == []
    assert parts.size == 0
    assert parts.add([1, 2]) == [(0, 0), (0, 1)]


def test_variations_are_beside_their_histogram(tmp_path: Path) -> None:
    varied = {
        "mass": histogram(5, variation=["mass", "nominal"]),
        "mass_pt_up": histogram(5, variation=["mass", "pt:up"]),
    }
    text = write_report(make_run(tmp_path / "run", {"s": varied})).read_text()
    names = [of[:3] for of in unpacked(text)["index"]["plots"]["histograms"]]
    assert names == [["", "mass", ""], ["", "mass", "pt:up"]]


def test_categories_are_found_by_comparing_names() -> None:
    names = ["SR_mass", "SR_pt", "CR_mass", "CR_pt", "n", "control_x"]
    assert split_names(names) == {
        "SR_mass": ("SR", "mass"), "SR_pt": ("SR", "pt"), "CR_mass": ("CR", "mass"), "CR_pt": ("CR", "pt"),
        "n": ("", "n"), "control_x": ("", "control_x"),
    }  # fmt: skip
    assert split_names(["ds_mass", "hnl_mass", "hnl_prob"])["hnl_mass"] == ("", "hnl_mass")
    assert split_names(["SR_low_m", "SR_m"], ["SR", "SR_low"]) == {"SR_low_m": ("SR_low", "m"), "SR_m": ("SR", "m")}


def test_cutflows_with_fewer_cuts_stand_in_the_same_table() -> None:
    results = {
        "hnl": Results("hnl", {"cutflow": cutflow(9, 8, 7, 6, names=("matched", "trigger", "soft"))}),
        "data": Results("data", {"cutflow": cutflow(90, 70, 60, names=("trigger", "soft"))}),
        "odd": Results("odd", {"cutflow": cutflow(5, 4, 3, names=("soft", "trigger"))}),
    }
    first, second = (flow.to_json() for flow in flows_of(results))
    assert first["cuts"] == ("matched", "trigger", "soft")
    assert first["rows"]["data"] == {"n": [90, None, 70, 60]}
    assert list(second["rows"]) == ["odd"]


def test_nested_values_become_tables_where_they_are_like_one(tmp_path: Path) -> None:
    channel = {"limit": {"observed": 1.5, "expected": [0.5, 1.0]}, "n": 3}
    odd = {"limit": None, "n": 1}
    values = {
        "samples": {"m1": {"mass": 1.0, "channels": {"a": channel, "b": channel, "c": odd}}},
        "deep": [1, [2, {"x": [3]}]],
        "masses": [
            {"mass": 1.0, "excluded": [[2.0, None]], "points": [{"x": 1}]},
            {"mass": 2.0, "excluded": [], "points": []},
        ],
    }
    text = write_report(make_run(tmp_path / "run", {"s": {"mass": histogram(5)}}, values=values)).read_text()
    for expected in ("limit observed", "limit expected", "<td>0.5, 1</td>", "mass 2", "[2, –]"):
        assert expected in text, expected


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("m(#mu#pi) (GeV)", "m(μπ) (GeV)"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("#unknown", "unknown"),
        (r"$\mu$", "μ"),
        ("C_Ds_mass", "C_Ds_mass"),
        ("p_{T}^{2}", "p<sub>T</sub><sup>2</sup>"),
        ("#bar{c} #it{x}", "c\N{COMBINING MACRON} x"),
    ],
)
def test_titles_written_for_root(title: str, expected: str) -> None:
    assert to_html(title) == expected


@pytest.mark.parametrize("entries", [0, 1])
def test_nearly_empty_histogram_is_drawn(entries: int) -> None:
    picture = draw("mass", {"s": curve(histogram(entries))}, {"s": "#000"}, unit_area=True)
    assert ("no entries" in picture) == (entries == 0)
    assert "nan" not in picture


def test_negative_weights_and_named_bins_are_drawn() -> None:
    product = histogram(1000)
    product.arrays["values"][1:20] = -50
    labels = {str(i): f"<{i}>" for i in range(1, 41)}
    named = Product(ProductKind.HISTOGRAM, {**product.meta, "axes": [axis(40, 0, 2, labels=labels)]}, product.arrays)
    picture = draw("mass", {"s": curve(named)}, {"s": "#000"}, unit_area=False)
    assert "&lt;1&gt;" in picture
    assert "nan" not in picture


def test_subscripts() -> None:
    assert re.fullmatch(r'p<tspan dy="3"[^>]*>T</tspan><tspan dy="-3">&#8203;</tspan>', to_text("p_{T}"))


def test_long_labels_fit_into_the_picture() -> None:
    short = draw("mass", {"s": curve(histogram(5, title="m (GeV)"))}, {"s": "#000"}, unit_area=True)
    long = draw("mass", {"s": curve(histogram(5, title="significance " * 9))}, {"s": "#000"}, unit_area=True)
    assert "textLength" not in short
    assert "textLength" in long
    assert "…</text>" in long
