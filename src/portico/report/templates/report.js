"use strict";
/* The report: what is chosen is unpacked and drawn with Plotly. Texts that Plotly gets are HTML, escaped when the file was written. */
(() => {
const $ = (id) => document.getElementById(id);
const NARROW = matchMedia("(max-width: 600px)");
const INK = "#1d2433", GRID = "#e4e7ec", SIGNALS_SHOWN = 3;
const FONT = { family: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif', size: 13, color: INK };
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const short = (x, digits = 4) => x === null || !isFinite(x) ? "–"
  : Math.abs(x) >= 1e6 || (x !== 0 && Math.abs(x) < 1e-4) ? x.toExponential(2)
  : Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en") : String(+x.toPrecision(digits));
const percent = (x) => isFinite(x) ? `${+(100 * x).toPrecision(3)}%` : "–";
const time = (s) => s < 90 ? `${+s.toPrecision(3)} s` : s < 5400 ? `${Math.floor(s / 60)} min ${Math.round(s % 60)} s` : `${(s / 3600).toFixed(1)} h`;
const sum = (values) => values.reduce((a, b) => a + b, 0);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function labelled(tag, html, properties = {}) {  // only for labels, which are escaped
  return Object.assign(document.createElement(tag), properties, { innerHTML: html });
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = options.some(([value]) => value === chosen) ? chosen : options.length ? options[0][0] : "";
  return select.value;
}

const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, (async () => {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  })());
  return unpacked.get(id);
}

function whenSeen(element, draw) {
  if (!element) return;
  const observer = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); draw(); }
  }, { rootMargin: "300px" });
  observer.observe(element);
  addEventListener("beforeprint", () => { observer.disconnect(); draw(); }, { once: true });
}

const CONFIG = {
  displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  toImageButtonOptions: { format: "svg", filename: "plot" },
};
const axis = (more) => ({
  ticks: "inside", ticklen: 7, minor: { ticks: "inside", ticklen: 3.5 }, mirror: "allticks", showline: true, linecolor: INK,
  linewidth: 1.2, showgrid: false, zeroline: false, automargin: true, exponentformat: "power", ...more,
  title: { standoff: 8, font: { size: NARROW.matches ? 11.5 : 14 }, ...more.title },
});

/* A figure is as high as its layout says, and as wide as the page lets it. */
function show(target, data, { height, ...layout }, config = CONFIG) {
  target.style.height = `${height}px`;
  return Plotly.react(target, data, { font: FONT, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hoverlabel: { bgcolor: "#fff", bordercolor: "#888", font: { size: 12.5, color: INK }, align: "left" }, ...layout }, config);
}

/* ---- Histograms ---- */
const plots = { step: "", category: "", variable: "", source: "", off: new Map(), map: -1 };
let index, token = 0;

const isOff = (number) => plots.off.get(number) ?? false;
const tagOf = (variation) => variation.slice(variation.indexOf(":") + 1);
const sourceOf = (variation) => variation.includes(":") ? variation.slice(0, variation.indexOf(":")) : variation;
const entriesOf = () => index.plots[plots.step] || [];

async function contentOf([, , , part, place]) { return (await unpack(`part-${part}`))[place]; }

function numbersOf(content, number, factor = 1) {
  const g = content.g[number];
  if (!g || !g.v) return null;
  const errors = g.u || g.v.map((x) => x === null ? null : Math.sqrt(Math.abs(x)));
  return { v: g.v.map((x) => x === null ? null : x * factor), u: errors.map((x) => x === null ? null : x * factor) };
}

function unit(content, number, on) {
  if (!on) return 1;
  const total = sum(content.g[number].v.map((x) => x || 0));
  return total ? 1 / total : 1;
}

const steps = (values) => [...values, values[values.length - 1]];
const zeros = (n) => new Array(n).fill(0);

function stackOf(content, numbers, factor) {
  const n = content.e.length - 1, total = zeros(n), square = zeros(n), layers = [];
  for (const number of numbers) {
    const h = numbersOf(content, number, factor);
    if (!h) continue;
    h.v.forEach((x, i) => { total[i] += x || 0; square[i] += (h.u[i] || 0) ** 2; });
    layers.push({ number, top: total.slice() });
  }
  return { layers, total, square };
}

/* Adds the larger deviation of each source's up and down in quadrature. */
function addSystematics(stack, numbers, varied) {
  const sources = new Map();
  for (const { variation, content } of varied) {
    if (!/:(up|down)$/i.test(variation)) continue;
    const total = stackOf(content, numbers, 1).total, source = sourceOf(variation);
    const largest = sources.get(source) || zeros(total.length);
    total.forEach((x, i) => { largest[i] = Math.max(largest[i], Math.abs(x - stack.total[i])); });
    sources.set(source, largest);
  }
  for (const largest of sources.values()) largest.forEach((x, i) => { stack.square[i] += x * x; });
  return sources.size;
}

function band(x, low, high, name, more) {
  const common = { x, mode: "lines", line: { width: 0, shape: "hv" }, hoverinfo: "skip", ...more };
  return [
    { ...common, y: steps(low), showlegend: false },
    { ...common, y: steps(high), name, fill: "tonexty", fillcolor: "rgba(0,0,0,0)", showlegend: !!name,
      fillpattern: { shape: "/", fgcolor: "#4a4a4a", bgcolor: "rgba(0,0,0,0)", fillmode: "overlay", size: 5, solidity: .22 } },
  ];
}

function heat(content, number, title) {
  const z = content.g[number].z, group = index.groups[number];
  return {
    data: [{ type: "heatmap", x: content.e, y: content.f, z, colorscale: "Cividis", hovertemplate: "%{x}, %{y}: %{z}<extra></extra>", colorbar: { thickness: 14, outlinewidth: 0 } }],
    layout: {
      height: 520, margin: { l: 60, r: 20, t: 40, b: 50 },
      title: { text: title || group.n, font: { size: 14 }, x: .08, xanchor: "left" },
      xaxis: axis({ title: { text: content.x } }), yaxis: axis({ title: { text: content.y } }),
    },
  };
}

/* Returns data and layout of a figure. `varied`: what is drawn beside the nominal; `all`: every variation, for the band. */
function figure(content, options, varied, all) {
  const { e } = content, n = e.length - 1, compact = options.compact;
  const centers = e.slice(1).map((x, i) => content.logx ? Math.sqrt(x * e[i]) : (x + e[i]) / 2);
  const there = Object.keys(content.g).map(Number).filter((number) => !isOff(number));
  const kind = (number) => options.shape || content.mean ? (index.groups[number].k === "data" ? "data" : "line") : index.groups[number].k;
  const of = (k) => there.filter((number) => kind(number) === k);
  const stacked = of("stack"), lines = of("line"), data = of("data");
  const stack = stackOf(content, stacked, 1);
  const systematic = stacked.length && options.syst ? addSystematics(stack, stacked, all) : 0;
  const errors = stack.square.map(Math.sqrt);
  const drawn = new Map([...lines, ...data].map((number) => [number, numbersOf(content, number, unit(content, number, options.shape))]));

  const everything = [...stack.total, ...[...drawn.values()].flatMap((h) => h.v)].filter((x) => x !== null && isFinite(x));
  const positive = everything.filter((x) => x > 0);
  const highest = Math.max(...everything, ...stack.total.map((x, i) => x + errors[i]), ...data.flatMap((d) => drawn.get(d).v.map((x, i) => x === null ? 0 : x + drawn.get(d).u[i])), 0) || 1;
  const smallest = positive.length ? Math.min(...positive) : .1;
  const lowest = Math.max(stacked.length ? Math.max(smallest, highest * 1e-7) : smallest, highest * 1e-9) / 2;
  const log = options.log && positive.length > 0;
  const up = (x) => log && !(x > lowest / 10) ? lowest / 10 : x;
  const traces = [];

  stack.layers.forEach(({ number, top }, i) => {
    const group = index.groups[number];
    traces.push({ x: e, y: steps(top.map(up)), mode: "lines", line: { shape: "hv", width: .7, color: "#333" }, fill: i ? "tonexty" : "tozeroy",
      fillcolor: group.c, ...(group.d === "solid" ? {} : { fillpattern: { shape: "x", fgcolor: "#fff", bgcolor: group.c, fillmode: "replace", size: 7, solidity: .2 } }),
      name: group.n, hoverinfo: "skip", legendrank: 900 - i });
  });
  if (stacked.length) traces.push(...band(e, stack.total.map((x, i) => up(x - errors[i])), stack.total.map((x, i) => up(x + errors[i])), systematic ? "stat. ⊕ syst." : "stat. uncertainty", { legendrank: 950 }));
  for (const number of lines) {
    const group = index.groups[number], h = drawn.get(number);
    if (content.mean) traces.push({ x: centers, y: h.v, error_y: { type: "data", array: h.u, thickness: 1.2, width: 0 }, mode: "markers", marker: { color: group.c, size: 6 }, name: group.n, hoverinfo: "skip", legendrank: 960 });
    else traces.push({ x: [e[0], ...e], y: [0, ...h.v, 0].map(up), mode: "lines", line: { shape: "hv", width: 2, color: group.c, dash: group.d }, name: group.n, hoverinfo: "skip", legendrank: 960 });
  }
  varied.forEach(({ variation, content: other }, i) => {
    const dash = ["dash", "dot", "dashdot"][i % 3], name = escaped(variation);
    if (stacked.length) traces.push({ x: e, y: steps(stackOf(other, stacked, 1).total.map(up)), mode: "lines", line: { shape: "hv", width: 2, color: "#bd1f01", dash }, name, hoverinfo: "skip", legendrank: 970 });
    lines.forEach((number, j) => {
      const h = numbersOf(other, number, unit(content, number, options.shape));
      if (h) traces.push({ x: e, y: steps(h.v.map(up)), mode: "lines", line: { shape: "hv", width: 1.3, color: index.groups[number].c, dash }, name, showlegend: !stacked.length && !j, hoverinfo: "skip", legendrank: 970 });
    });
  });
  for (const number of data) {
    const h = drawn.get(number), keep = h.v.map((x, i) => i).filter((i) => h.v[i] !== null && (h.v[i] !== 0 || h.u[i] > 0));
    traces.push({ x: keep.map((i) => centers[i]), y: keep.map((i) => h.v[i]), error_y: { type: "data", array: keep.map((i) => h.u[i]), color: "#000", thickness: 1.3, width: 0 },
      mode: "markers", marker: { color: "#000", size: compact ? 4 : 6 }, name: index.groups[number].n, hoverinfo: "skip", legendrank: 100 });
  }

  const below = options.ratio && !compact && !content.mean && ((data.length && stacked.length) || (varied.length && (stacked.length || lines.length)));
  if (below) traces.push(...ratio(e, centers, stack, errors, data.map((d) => drawn.get(d)), stacked, lines, varied, content));
  const texts = centers.map((x, i) => hover(content, i, data, stacked, lines, drawn, stack, errors));
  const tops = centers.map((x, i) => up(Math.max(stack.total[i], ...[...drawn.values()].map((h) => h.v[i] || 0))));
  const pointer = { x: centers, mode: "markers", marker: { opacity: 0, size: 1 }, text: texts, hovertemplate: "%{text}<extra></extra>", showlegend: false };
  traces.push({ ...pointer, y: tops }, ...(below ? [{ ...pointer, y: centers.map(() => 1), yaxis: "y2" }] : []));

  const shown = traces.filter((trace) => trace.name && trace.showlegend !== false).length;
  const inside = !compact && !NARROW.matches && shown <= 10, room = compact ? 1.15 : 1.2 + (inside ? Math.min(.055 * shown, .45) : 0);
  const title = compact ? options.title : content.y, old = index.stale[plots.step] || [];
  const warned = [index.partial ? "PARTIAL" : "", old.length ? `${escaped(old.slice(0, 3).join(", "))}${old.length > 3 ? ", ..." : ""}: made with other options` : "", escaped(content.w || "")].filter(Boolean).join("<br>");
  const nothing = !traces.some((trace) => trace.name);
  const texted = (text, x, anchor) => ({ text, x, xanchor: anchor, y: 1, yanchor: "bottom", xref: "paper", yref: "paper", showarrow: false, font: { size: 13.5 } });
  const marks = [...(index.label ? [texted(`<b>${index.label}</b>`, 0, "left")] : []), ...(index.note ? [texted(index.note, 1, "right")] : [])];
  const layout = {
    height: compact ? 290 : NARROW.matches ? 430 : 560, hovermode: "x", hoverdistance: -1,
    margin: compact ? { l: 50, r: 14, t: 30, b: 44 } : { l: NARROW.matches ? 48 : 70, r: NARROW.matches ? 12 : 24, t: marks.length ? 50 : 34, b: 52 }, dragmode: "zoom",
    showlegend: inside && shown > 0, legend: { traceorder: "normal", x: .985, xanchor: "right", y: .985, yanchor: "top", bgcolor: "rgba(255,255,255,.75)", itemclick: false, itemdoubleclick: false, font: { size: NARROW.matches ? 10.5 : 12.5 } },
    xaxis: axis({ title: { text: compact ? "" : content.x, standoff: 6 }, range: content.logx ? [Math.log10(e[0]), Math.log10(e[n])] : [e[0], e[n]], type: content.logx ? "log" : "linear", anchor: below ? "y2" : "y", mirror: below ? "all" : "allticks", ...ticksOf(content, centers, compact) }),
    yaxis: axis({ title: { text: compact ? "" : options.shape ? "fraction / bin" : title }, type: log ? "log" : "linear", domain: below ? [.29, 1] : [0, 1],
      range: log ? [Math.log10(lowest), Math.log10(highest) + (Math.log10(highest) - Math.log10(lowest)) * (room - 1)] : [Math.min(0, ...everything) * 1.1, highest * room] }),
    annotations: [...(compact ? [texted(escaped(options.title), 0, "left")] : marks),
      ...(warned ? [{ text: `<b>${warned}</b>`, x: .02, xanchor: "left", y: .97, yanchor: "top", xref: "paper", yref: "paper", showarrow: false, font: { color: "#b3261e", size: 16 } }] : []),
      ...(nothing ? [{ text: "no entries", x: .5, y: .5, xref: "paper", yref: "paper", showarrow: false, font: { size: 15, color: "#5b6475" } }] : [])],
    shapes: content.blind.map(([x0, x1]) => ({ type: "rect", x0: Math.max(x0, e[0]), x1: Math.min(x1, e[n]), y0: 0, y1: 1, xref: "x", yref: "paper", fillcolor: "#dfe3ea", line: { width: 0 }, layer: "below" })).filter((shape) => shape.x1 > shape.x0),
  };
  if (below) layout.yaxis2 = axis({ domain: [0, .26], title: { text: data.length && stacked.length && !varied.length ? "data / pred." : "ratio", standoff: 6 }, range: below.range || reach(traces), nticks: 5, zeroline: false });
  return { data: traces, layout };
}

function ticksOf(content, centers, compact) {
  if (!content.labels) return {};
  const every = Math.ceil(centers.length / (compact || NARROW.matches ? 8 : 24));
  return { tickvals: centers.filter((x, i) => i % every === 0), ticktext: content.labels.filter((x, i) => i % every === 0), minor: {} };
}

function reach(traces) {
  const away = traces.filter((t) => t.yaxis === "y2" && t.mode === "markers" && t.error_y).flatMap((t) => t.y.map((y, i) => Math.max(0, Math.abs(y - 1) - .3 * t.error_y.array[i])));
  const lines = traces.filter((t) => t.yaxis === "y2" && t.ratio).flatMap((t) => t.y.filter((y) => y !== null).map((y) => Math.abs(y - 1)));
  const largest = Math.max(...away, ...lines, 0), d = [.1, .2, .5].find((x) => largest < .95 * x) || 1;
  return [1 - d * 1.08, 1 + d * 1.08];
}

function ratio(e, centers, stack, errors, points, stacked, lines, varied, content) {
  const more = { yaxis: "y2", hoverinfo: "skip", showlegend: false }, traces = [];
  const over = (a, b) => a.map((x, i) => b[i] > 0 && x !== null ? x / b[i] : null);
  traces.push({ ...more, x: [e[0], e[e.length - 1]], y: [1, 1], mode: "lines", line: { color: "#555", width: 1 } });
  if (stacked.length) {
    const relative = over(errors, stack.total).map((x) => x === null ? 0 : x);
    traces.push(...band(e, relative.map((x) => 1 - x), relative.map((x) => 1 + x), "", more));
  }
  for (const { content: other } of varied) {
    const dash = ["dash", "dot", "dashdot"][varied.findIndex((v) => v.content === other) % 3];
    if (stacked.length) traces.push({ ...more, ratio: 1, x: e, y: steps(over(stackOf(other, stacked, 1).total, stack.total)), mode: "lines", line: { shape: "hv", color: "#bd1f01", width: 2, dash } });
    else for (const number of lines) {
      const h = numbersOf(other, number), nominal = numbersOf(content, number);
      if (h) traces.push({ ...more, ratio: 1, x: e, y: steps(over(h.v, nominal.v)), mode: "lines", line: { shape: "hv", color: index.groups[number].c, width: 1.5, dash } });
    }
  }
  if (stacked.length) for (const h of points) {
    const keep = centers.map((x, i) => i).filter((i) => stack.total[i] > 0 && h.v[i] > 0);
    traces.push({ ...more, x: keep.map((i) => centers[i]), y: keep.map((i) => h.v[i] / stack.total[i]), mode: "markers", marker: { color: "#000", size: 6 },
      error_y: { type: "data", array: keep.map((i) => h.u[i] / stack.total[i]), color: "#000", thickness: 1.3, width: 0 } });
  }
  return traces;
}

function hover(content, i, data, stacked, lines, drawn, stack, errors) {
  const range = content.labels ? `<b>${content.labels[i]}</b>` : `<b>${short(content.e[i], 6)} to ${short(content.e[i + 1], 6)}</b>`;
  const row = (number, h) => `${index.groups[number].n}: ${h.v[i] === null ? (content.mean ? "–" : "blinded") : `${short(h.v[i])} ± ${short(h.u[i], 2)}`}`;
  const rows = [range, ...data.map((d) => row(d, drawn.get(d)))];
  if (stacked.length > 1) rows.push(`prediction: ${short(stack.total[i])} ± ${short(errors[i], 2)}`);
  rows.push(...stacked.map((s) => row(s, numbersOf(content, s))), ...lines.map((l) => row(l, drawn.get(l))));
  const seen = data.length === 1 ? drawn.get(data[0]).v[i] : null;
  if (stacked.length && seen !== null && stack.total[i] > 0 && data.length === 1) rows.push(`data / prediction: ${short(seen / stack.total[i], 3)}`);
  return rows.slice(0, 18).join("<br>");
}

const found = (category, variable, variation) => entriesOf().find(([c, v, w]) => c === category && v === variable && w === variation);

async function drawPlot() {
  const mine = ++token, area = $("plot");
  const wanted = plots.category === "*" ? categories().map((c) => [c, found(c, plots.variable, "")]) : [[plots.category, found(plots.category, plots.variable, "")]];
  const options = { log: $("p-log").checked, shape: $("p-shape").checked, ratio: $("p-ratio").checked, syst: $("p-syst").checked };
  const made = [];
  for (const [category, entry] of wanted) {
    if (!entry) continue;
    const content = await contentOf(entry);
    const others = entriesOf().filter(([c, v, w]) => c === category && v === plots.variable && w);
    const all = options.syst || plots.source ? await Promise.all(others.map(async (o) => ({ variation: o[2], content: await contentOf(o) }))) : [];
    made.push([category, content, all.filter((v) => sourceOf(v.variation) === plots.source), all]);
  }
  if (mine !== token || !made.length) return;
  const gallery = plots.category === "*";
  area.className = gallery ? "gallery" : "canvas";
  if (gallery || area.dataset.gallery) { area.querySelectorAll(".js-plotly-plot").forEach((e) => Plotly.purge(e)); Plotly.purge(area); area.replaceChildren(); area.style.height = ""; }
  area.dataset.gallery = gallery ? "1" : "";
  for (const [category, content, varied, all] of made) {
    const target = gallery ? area.appendChild(make("div", { className: "canvas" })) : area;
    const maps = Object.keys(content.g).map(Number).filter((number) => content.g[number].z && !isOff(number));
    const drawing = content.f ? (maps.length ? heat(content, maps.includes(plots.map) ? plots.map : maps[0]) : null) : figure(content, { ...options, compact: gallery, title: category || "all" }, varied, all);
    if (!drawing) { Plotly.purge(target); target.style.height = ""; target.textContent = "nothing to show: no samples are chosen, or data are blinded"; continue; }
    await show(target, drawing.data, drawing.layout, { ...CONFIG, displayModeBar: gallery ? false : "hover" });
  }
  area.setAttribute("aria-label", `${plots.variable} in ${plots.category || plots.step}`);
  drawLegend(made[0][1], options);
  tell(made[0][1]);
  history.replaceState(null, "", `#plot/${[plots.step, plots.category, plots.variable].map(encodeURIComponent).join("/")}`);
}

function tell(content) {
  const outside = Object.entries(content.g).filter(([number, g]) => g.o && !isOff(+number)).map(([number, g]) => `${index.groups[number].n}: ${short(g.o[0])} below, ${short(g.o[1])} above`);
  $("plot-note").innerHTML = [content.blind.length ? "Data are blinded in the grey intervals; this file does not have them." : "", outside.length ? `Out of range: ${outside.slice(0, 6).join("; ")}.` : ""].join(" ");
}

function swatch(group) {
  const color = group.c, mark = group.k === "data" ? `<circle cx="9" cy="6" r="3.5" fill="#000" stroke="#fff"/>`
    : group.k === "stack" ? `<rect x="1" y="1" width="16" height="10" fill="${color}"/>`
    : `<path d="M0 6H18" stroke="${color}" stroke-width="2.5" stroke-dasharray="${{ solid: "", dash: "5 3", dot: "2 2", dashdot: "5 2 2 2", longdash: "8 3" }[group.d]}"/>`;
  return `<svg width="18" height="12" aria-hidden="true">${mark}</svg>`;
}

function drawLegend(content, options) {
  $("legend").replaceChildren(...Object.keys(content.g).map(Number).map((number) => {
    const group = index.groups[number], numbers = content.g[number].v, on = content.f ? plots.map === number : !isOff(number);
    const total = numbers && !content.mean ? `<small>${short(sum(numbers.map((x) => x || 0)))}</small>` : "";
    const chip = labelled("button", `${swatch(group)}<span>${group.n}</span>${total}`, { type: "button", className: "chip", title: group.s.join(", ") });
    chip.setAttribute("aria-pressed", String(on));
    chip.addEventListener("click", async () => {
      if (content.f) plots.map = number; else plots.off.set(number, !isOff(number));
      await drawPlot();
      $("legend").children[[...Object.keys(content.g)].map(Number).indexOf(number)]?.focus();
    });
    return chip;
  }));
}

const unique = (values) => [...new Set(values)];
const categories = () => unique(entriesOf().filter(([, v, w]) => !w && (v === plots.variable || !plots.variable)).map(([c]) => c));

function chooseVariables() {
  const wanted = $("p-find").value.toLowerCase();
  const names = unique(entriesOf().filter(([c, v, w]) => !w && (plots.category === "*" || c === plots.category) && v.toLowerCase().includes(wanted)).map(([, v]) => v));
  const kept = names.includes(plots.variable) || !plots.variable || !wanted ? plots.variable : names[0] || plots.variable;
  plots.variable = fill($("p-variable"), names.map((v) => [v, v]), kept) || plots.variable;
}

function choose() {
  const shared = unique(entriesOf().filter(([, , w]) => !w).map(([c]) => c)), several = shared.length > 1;
  const options = shared.map((c) => [c, c || "(none)"]);
  plots.category = fill($("p-category"), several ? [...options, ["*", "all, side by side"]] : options, plots.category);
  $("p-category").disabled = !several;
  chooseVariables();
  const sources = unique(entriesOf().filter(([c, v, w]) => w && v === plots.variable && (plots.category === "*" || c === plots.category)).map(([, , w]) => sourceOf(w)));
  plots.source = fill($("p-variation"), [["", "nominal"], ...sources.map((s) => [s, s])], plots.source);
  $("p-variation").disabled = $("p-syst").disabled = !sources.length;
}

/* What is shown first: the variable in the most categories, rather a mass, rather one with variations. */
function usual() {
  const count = new Map();
  for (const [, v, w] of entriesOf()) count.set(v, (count.get(v) || 0) + (w ? .01 : 1 + (/mass/i.test(v) ? .5 : 0)));
  return [...count].reduce((a, b) => b[1] > a[1] ? b : a, ["", 0])[0];
}

async function startPlots() {
  if (!$("plots")) return;
  const names = Object.keys(index.plots), [, step, category, variable] = location.hash.startsWith("#plot/") ? location.hash.split("/").map(decodeURIComponent) : [];
  plots.step = fill($("p-step"), names.map((name) => [name, name]), names.includes(step) ? step : index.first);
  plots.category = category || "";
  plots.variable = variable || "";
  let lines = 0;
  index.groups.forEach((group, number) => { if (group.k === "line" && ++lines > SIGNALS_SHOWN) plots.off.set(number, true); });
  if (!variable) plots.variable = usual();
  if (!category) plots.category = (entriesOf().find(([, v, w]) => !w && v === plots.variable) || [""])[0];
  const logged = async () => { const entry = found(plots.category === "*" ? categories()[0] : plots.category, plots.variable, ""); if (entry) $("p-log").checked = !!(await contentOf(entry)).log; };
  const again = async (fresh) => { choose(); if (fresh) await logged(); await drawPlot(); };
  $("p-step").addEventListener("change", () => { plots.step = $("p-step").value; plots.source = ""; $("p-find").value = ""; again(true); });
  $("p-category").addEventListener("change", () => { plots.category = $("p-category").value; again(false); });
  $("p-variable").addEventListener("change", () => { plots.variable = $("p-variable").value; again(true); });
  $("p-variation").addEventListener("change", () => { plots.source = $("p-variation").value; again(false); });
  $("p-find").addEventListener("input", () => { const before = plots.variable; chooseVariables(); if (plots.variable !== before) again(true); });
  for (const id of ["p-log", "p-shape", "p-ratio", "p-syst"]) $(id).addEventListener("change", drawPlot);
  NARROW.addEventListener("change", drawPlot);
  await again(true);
}

/* ---- Cutflows ---- */
function drawFlow() {
  const flow = (index.flows[$("c-step").value] || [])[+$("c-flow").value];
  if (!flow) return;
  const show = $("c-show").value, grouped = $("c-rows").value === "groups", stale = index.stale[$("c-step").value] || [];
  const rows = [];
  for (const group of index.groups) {
    const members = group.s.filter((s) => flow.rows[s]);
    const absent = group.s.filter((s) => !flow.rows[s]);
    if (grouped && members.length) rows.push([make("span", {}, labelled("span", group.l), absent.length ? ` (without ${absent.join(", ")})` : ""), group, added(members.map((s) => flow.rows[s])), members.some((s) => stale.includes(s))]);
    if (!grouped) for (const s of members) rows.push([make("span", { textContent: s }), group, flow.rows[s], stale.includes(s)]);
  }
  const cell = (row, i) => {
    const of = row.y && show === "y" ? row.y : row.n, before = of.slice(0, i).filter((x) => x !== null).pop();
    if (of[i] === null || of[i] === undefined) return "–";
    if (show === "e") return i ? percent(of[i] / before) : "";
    if (show === "c") return percent(of[i] / of[0]);
    return show === "y" && row.y ? `${short(of[i])} ± ${short(row.u[i], 2)}` : of[i].toLocaleString("en");
  };
  const head = make("tr", {}, make("th"), ...["before", ...flow.cuts].map((cut) => make("th", { className: "cut", textContent: cut })));
  const body = rows.map(([label, group, row, old]) => {
    const name = make("th", {}, make("span", { className: "swatch" }), label, old ? " (made with other options)" : "");
    name.firstChild.style.background = group.c;
    return make("tr", {}, name, ...row.n.map((x, i) => make("td", { textContent: cell(row, i) })));
  });
  $("flow").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function added(rows) {
  const column = (key, join) => rows.every((row) => row[key]) ? rows[0][key].map((x, i) => join(rows.map((row) => row[key][i]))) : undefined;
  const plain = (values) => values.some((x) => x === null) ? null : sum(values);
  return { n: column("n", plain), y: column("y", plain), u: column("u", (values) => Math.hypot(...values)) };
}

function startFlows() {
  if (!$("cutflows")) return;
  const steps = Object.keys(index.flows);
  const again = () => {
    fill($("c-flow"), index.flows[$("c-step").value].map((flow, i) => [String(i), flow.name]), "0");
    const weighted = index.flows[$("c-step").value].some((flow) => Object.values(flow.rows).some((row) => row.y));
    $("c-show").querySelector("[value=y]").disabled = !weighted;
    if (!weighted && $("c-show").value === "y") $("c-show").value = "n";
    drawFlow();
  };
  fill($("c-step"), steps.map((name) => [name, name]), index.first);
  $("c-step").addEventListener("change", again);
  for (const id of ["c-flow", "c-show", "c-rows"]) $(id).addEventListener("change", drawFlow);
  again();
}

/* ---- Workflow and performance ---- */
const PHASES = [["load ROOT and the step", "#b9ac70"], ["open file", "#94a4a2"], ["build graph", "#ffa90e"], ["compile", "#e76300"], ["event loop", "#3f90da"], ["collect", "#832db6"]];

function drawGraph() {
  const depth = new Map(), named = new Map(index.graph.map((node) => [node.n, node]));
  for (const node of index.graph) depth.set(node.n, Math.max(0, ...node.needs.filter((n) => depth.has(n)).map((n) => depth.get(n) + 1)));
  if (index.graph.every((node) => !node.needs.length)) index.graph.forEach((node, i) => depth.set(node.n, i));  // made before runs noted it
  const layers = [], parents = new Map(), routes = [];
  const put = (name, layer, from) => { (layers[layer] ||= []).push(name); parents.set(name, from); };
  for (const node of index.graph) {
    const ends = node.needs.filter((n) => depth.has(n)).map((n) => {  // a long arrow passes a place of its own in each layer
      const route = [n];
      for (let layer = depth.get(n) + 1; layer < depth.get(node.n); layer++) { const place = `${n}\n${node.n}\n${layer}`; put(place, layer, [route[route.length - 1]]); route.push(place); }
      routes.push([...route, node.n]);
      return route[route.length - 1];
    });
    put(node.n, depth.get(node.n), ends);
  }
  const down = $("graph").clientWidth < 130 * layers.length, widest = Math.max(...layers.map((l) => l.length)), at = new Map();
  layers.forEach((layer, i) => {
    const weight = (name) => { const from = parents.get(name).map((n) => (down ? at.get(n)[0] : -at.get(n)[1])); return from.length ? sum(from) / from.length : 0; };
    layer.map((name) => [weight(name), name]).sort((a, b) => a[0] - b[0]).forEach(([, name], j) => { const across = j - (layer.length - 1) / 2; at.set(name, down ? [across, -i] : [i, -across]); });
  });
  const longest = Math.max(...index.graph.map((node) => node.s), 1e-9), size = down && widest > 2 ? 9.5 : 11.5;
  const second = (node) => `${time(node.s)}${node.chunks && !(down && widest > 1) ? `, ${node.chunks} chunks` : ""}`;
  const half = (name) => !named.has(name) ? 0 : down ? 22 : Math.max(name.length * .62, second(named.get(name)).length * .52) * size / 2 + 8;
  const arrows = routes.flatMap((route) => route.slice(1).map((name, i) => {
    const [x, y] = at.get(name), [ax, ay] = at.get(route[i]);
    return { x, y, ax, ay, xref: "x", yref: "y", axref: "x", ayref: "y", text: "", showarrow: true, arrowhead: named.has(name) ? 2 : 0, arrowsize: 1.2, arrowwidth: 1.2, arrowcolor: "#717581", standoff: half(name), startstandoff: half(route[i]) };
  }));
  const boxes = index.graph.map((node) => {
    const [x, y] = at.get(node.n), part = node.s / longest;
    return { x, y, xref: "x", yref: "y", showarrow: false, text: `<b>${escaped(node.n)}</b><br>${second(node)}${node.state === "done" ? "" : `<br><b>${escaped(node.state)}</b>`}`,
      bgcolor: `rgb(${[63, 144, 218].map((c) => Math.round(255 - (255 - c) * (.08 + .5 * part))).join(",")})`, bordercolor: node.state === "failed" ? "#b3261e" : node.kind === "summary" ? "#832db6" : "#22638f", borderwidth: 1.5, borderpad: 5, font: { size } };
  });
  const hidden = { visible: false, fixedrange: true };
  show($("graph"), [{ x: [0], y: [0], mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip" }], {
    margin: { l: 6, r: 6, t: 6, b: 6 }, height: down ? 76 * layers.length + 20 : Math.max(130, 84 * widest), annotations: [...arrows, ...boxes],
    xaxis: { ...hidden, range: down ? [-widest / 2, widest / 2] : [-.55, layers.length - .45] }, yaxis: { ...hidden, range: down ? [-layers.length + .5, .5] : [-widest / 2, widest / 2] },
  }, { responsive: true, displayModeBar: false });
}

async function drawTimes(last) {
  const data = await unpack(last), n = data.lanes.length;
  if (!data.spans.length) { $("timeline").textContent = $("rates").textContent = "no chunk has run"; return; }
  const height = Math.min(640, Math.max(150, 24 * n)) + 90, width = Math.max(2, Math.min(15, .72 * (height - 90) / n));
  const lines = PHASES.map(([name, color]) => ({ name, x: [], y: [], mode: "lines", line: { color, width }, hoverinfo: "skip" }));
  const failed = { name: "failed attempt", x: [], y: [], mode: "lines", line: { color: "#bd1f01", width }, hoverinfo: "skip" };
  const rest = { name: "summary step, other", x: [], y: [], mode: "lines", line: { color: "#c9ced8", width }, hoverinfo: "skip" };
  const points = { x: [], y: [], text: [], mode: "markers", marker: { opacity: 0, size: width }, hovertemplate: "%{text}<extra></extra>", showlegend: false };
  for (const [lane, step, start, seconds, ...more] of data.spans) {
    const phases = more.slice(0, 6), [sample, chunk, entries, outcome] = more.slice(6);
    const put = (trace, from, to) => { if (to > from) { trace.x.push(from, to, null); trace.y.push(lane, lane, null); } };
    put(outcome ? failed : rest, start, start + seconds);
    let at = start;
    if (!outcome) phases.forEach((length, i) => { put(lines[i], at, Math.min(at + length, start + seconds)); at += length; });
    points.x.push(start + seconds / 2);
    points.y.push(lane);
    points.text.push([`<b>${escaped(data.steps[step])}</b> ${escaped(sample)}`, escaped(chunk.length > 70 ? `…${chunk.slice(-69)}` : chunk), `${time(seconds)}, ${short(entries)} entries`, outcome && `<b>failed: ${escaped(outcome)}</b>`, ...(outcome ? [] : PHASES.map(([name], i) => phases[i] > .005 ? `${name} ${time(phases[i])}` : ""))].filter(Boolean).join("<br>"));
  }
  const x = (more) => axis({ title: { text: "seconds since the first chunk began" }, rangemode: "tozero", mirror: true, ...more });
  await show($("timeline"), [rest, ...lines, failed, points].filter((trace) => trace.x.length), {
    height, margin: { l: 20, r: 20, t: 12, b: 56 }, hovermode: "closest", dragmode: "zoom", showlegend: !NARROW.matches,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", font: { size: 11.5 }, itemclick: false, itemdoubleclick: false }, xaxis: x({}),
    yaxis: axis({ tickvals: n <= 40 ? data.lanes.map((l, i) => i) : [], ticktext: data.lanes.map((l) => escaped(l.length > 24 ? `…${l.slice(-23)}` : l)), range: [n - .4, -.6], ticks: "", minor: {}, mirror: true, title: { text: n > 40 ? `${n} workers` : "" } }),
  }, { ...CONFIG, scrollZoom: false });
  $("timeline-note").textContent = [data.left ? `The ${data.spans.length} longest and all failed attempts are drawn; ${data.left} more are in the trace.` : "", data.pauses ? `${data.pauses} pauses in which nothing ran are left out.` : ""].join(" ");
  if (!data.flow) { $("rates").textContent = "no chunk is done"; return; }
  const rate = (y, name, color, number) => ({ x: data.flow.t, y, name, mode: "lines", fill: "tozeroy", line: { shape: "hvh", color, width: 1.3 }, yaxis: number ? `y${number}` : "y", hovertemplate: `%{y:.4s} ${name} at %{x:.1f} s<extra></extra>` });
  const vertical = (text, domain) => axis({ title: { text, font: { size: 12 } }, domain, rangemode: "tozero", nticks: 4, minor: {}, mirror: true, tickformat: "~s" });
  await show($("rates"), [rate(data.flow.running, "chunks at a time", "#717581", 3), rate(data.flow.mb, "MB/s", "#e76300", 2), rate(data.flow.n, "entries/s", "#3f90da", 0)], {
    height: 380, margin: { l: 60, r: 20, t: 12, b: 56 }, showlegend: false, hovermode: "x", dragmode: "zoom",
    xaxis: x({ anchor: "y3" }), yaxis: vertical("entries/s", [.7, 1]), yaxis2: vertical("MB/s", [.36, .64]), yaxis3: vertical("chunks", [0, .3]),
  }, CONFIG);
}

/* ---- Pictures of the result ---- */
function startPictures() {
  const first = $("hero") && { src: $("hero").src, alt: $("hero").alt }, all = [first, ...document.querySelectorAll("img.other")];
  for (const button of document.querySelectorAll("#heroes button")) button.addEventListener("click", () => {
    const of = all[+button.dataset.of];
    Object.assign($("hero"), { src: of.src, alt: of.alt });
    for (const other of document.querySelectorAll("#heroes button")) other.setAttribute("aria-pressed", String(other === button));
  });
}

async function start() {
  startPictures();
  if (typeof DecompressionStream === "undefined") {
    document.querySelector("main").prepend(make("div", { className: "warning", textContent: "This browser cannot unpack the plots; use one of 2023 or later." }));
    return;
  }
  index = await unpack("index");
  startFlows();
  await startPlots();
  whenSeen($("graph"), drawGraph);
  const parts = document.querySelectorAll("script[id^=part-]");
  whenSeen($("timeline"), () => drawTimes(parts[parts.length - 1].id));
  document.documentElement.dataset.ready = "1";
}
start();
})();
