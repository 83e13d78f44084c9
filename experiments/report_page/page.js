// Draws the report's figures from the data in the page, in the colours of the reader's scheme, and moves its table.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const unit = Object.fromEntries(data.objectives.map((o) => [o.name, o.unit]));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const title = (name) => (unit[name] && unit[name] !== name ? `${name} (${unit[name]})` : name);
const config = { displayModeBar: false, responsive: true };

function layout(x, y) {
  const axis = (text) => ({
    title: { text, standoff: 10 }, gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true, exponentformat: "SI",
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 12, r: 18, t: 40, b: 12 },
    font: { family: "system-ui, sans-serif", size: 13, color: colour("quiet") },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "closest", xaxis: axis(x), yaxis: axis(y),
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), align: "left",
      font: { family: "ui-monospace, Menlo, Consolas, monospace", size: 12, color: colour("ink") } },
  };
}

const kinds = [
  ["dominated", "dominated", { symbol: "circle", size: 6, opacity: 0.75 }],
  ["infeasible", "infeasible", { symbol: "x-thin-open", size: 7 }],
  ["front", "front", { symbol: "circle", size: 9 }],
  ["knee", "knee", { symbol: "star", size: 15 }],
];

function errors(points, name, shade) {
  const half = (p, end) => (p.values[name][end] === null ? 0 : Math.abs(p.values[name][end] - p.values[name][0]));
  return { type: "data", symmetric: false, array: points.map((p) => half(p, 2)), arrayminus: points.map((p) => half(p, 1)),
    color: shade, thickness: 1, width: 0 };
}

function trace(kind, label, marker, points, x, y) {
  return {
    type: "scatter", mode: "markers", name: `${label} (${points.length})`, x: points.map((p) => p.values[x][0]),
    y: points.map((p) => (p.values[y] ? p.values[y][0] : 0)), text: points.map((p) => p.hover), hovertemplate: "%{text}<extra></extra>",
    marker: { ...marker, color: colour(kind), line: { width: kind === "infeasible" ? 1.5 : 0, color: colour(kind) } },
  };
}

function scatter(x, y) {
  return kinds.map(([kind, label, marker]) => {
    const points = data.points.filter((p) => p.kind === kind && p.values[x] && p.values[y]);
    const marked = kind === "front" || kind === "knee";
    const bars = marked ? { error_x: errors(points, x, colour(kind)), error_y: errors(points, y, colour(kind)) } : {};
    return { ...trace(kind, label, marker, points, x, y), ...bars };
  }).filter((drawn) => drawn.x.length);
}

// Points whose `y` was not measured because they break a limit: a strip of their own below the rest.
function strip(x, y) {
  const points = data.points.filter((p) => p.kind === "infeasible" && p.values[x] && !p.values[y]);
  const [kind, label, marker] = kinds.find(([name]) => name === "infeasible");
  return points.length ? [{ ...trace(kind, label, marker, points, x, y), yaxis: "y2" }] : [];
}

function drawScatters() {
  const home = document.getElementById("scatters");
  if (!home) return;
  data.pairs.forEach(({ x, y }, i) => {
    const figure = home.children[i] || home.appendChild(Object.assign(document.createElement("div"), { className: "figure" }));
    const apart = strip(x, y);
    const shape = layout(title(x), title(y));
    if (apart.length) {
      shape.yaxis.domain = [0.12, 1];
      shape.xaxis.anchor = "y2";
      shape.yaxis2 = { domain: [0, 0.09], showticklabels: false, showgrid: false, zeroline: false, fixedrange: true };
    }
    Plotly.react(figure, [...scatter(x, y), ...apart], shape, config);
  });
}

function drawCurves() {
  const volume = document.getElementById("hypervolume");
  if (volume) {
    const line = { shape: "hv", color: colour("front"), width: 2 };
    const trace = { type: "scatter", mode: "lines", line, x: data.hypervolume.history.map((_, i) => i + 1), y: data.hypervolume.history,
      hovertemplate: "%{y:.4f} after %{x}<extra></extra>" };
    Plotly.react(volume, [trace], layout("evaluations done", "hypervolume, as a share"), config);
  }
  const supernet = document.getElementById("supernet");
  if (supernet) {
    const shades = ["front", "knee", "infeasible", "quiet"];
    const traces = Object.entries(data.supernet.series).map(([name, y], i) => ({
      type: "scatter", mode: "lines", name, x: data.supernet.step, y, line: { color: colour(shades[i % shades.length]), width: 1.5 },
    }));
    const positive = Object.values(data.supernet.series).every((column) => column.every((value) => value > 0));
    const shape = layout("step", traces.length === 1 ? traces[0].name : "");
    Plotly.react(supernet, traces, { ...shape, yaxis: { ...shape.yaxis, type: positive ? "log" : "linear" } }, config);
  }
}

function draw() { drawScatters(); drawCurves(); }

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== column ? "none" : descending ? "descending" : "ascending"));
  const key = (body) => body.rows[0].cells[column].dataset.value;
  const compare = (a, b) => (column ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
  const bodies = [...table.tBodies].sort((a, b) => (descending ? -1 : 1) * compare(a, b));
  table.append(...bodies);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.closest("thead")) sortBy(button.closest("table"), button.closest("th").cellIndex);
  if (button.className === "open") {
    const details = button.closest("tbody").rows[1];
    details.hidden = !details.hidden;
    button.setAttribute("aria-expanded", String(!details.hidden));
  }
  if (button.className === "copy") {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // A file opened from disk may not be allowed to write the clipboard: select the text instead.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
