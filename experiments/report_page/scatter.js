// Designs by any two objectives: what kind each is shows in its shape, whatever its colour.
const SHAPES = {
  done: { label: "dominated", symbol: "circle", size: 6, opacity: 0.7 },
  infeasible: { label: "infeasible", symbol: "x-thin-open", size: 7 },
  failed: { label: "failed", symbol: "y-down-open", size: 9 },
  other: { label: "on the sweep's front", symbol: "diamond-open", size: 8 },
  front: { label: "front", symbol: "circle", size: 9 },
  knee: { label: "knee", symbol: "star", size: 15 },
  published: { label: "published", symbol: "square-open", size: 11 },
  compared: { label: "compared", symbol: "circle-open", size: 20 },
};
const SHADES = { done: "dominated", other: "front", compared: "ink", published: "ink", failed: "ink" };
const LETTERS = "ABCD";
const UNJUDGED = ["infeasible", "failed"]; // kinds whose quality is not known
let pointed = null; // the row that the keyboard is at

function bars(rows, name, shade) {
  const column = objective[name];
  const half = (row, end) => (hasInterval(column, row) ? Math.abs(column[end][row] - column.values[row]) : 0);
  return { type: "data", symmetric: false, array: rows.map((row) => half(row, "high")), arrayminus: rows.map((row) => half(row, "low")), color: shade, thickness: 1, width: 0 };
}

function points(kind, rows, values, extra = {}) {
  const { label, ...marker } = SHAPES[kind];
  const shade = colour(SHADES[kind] || kind);
  const width = { infeasible: 1.5, failed: 1.5, published: 2, compared: 1.5, other: 1.5 }[kind] || 0;
  return {
    type: "scatter", mode: "markers", name: `${label} (${rows.length})`, x: rows.map((row) => values.x[row] ?? 0), y: rows.map((row) => values.y[row] ?? 0),
    customdata: rows, hoverinfo: "none", marker: { ...marker, color: shade, line: { width, color: shade } }, ...extra,
  };
}

// By kind, the rows that are kept and have both values; those that were not judged lack one: `y` those below, `x` those beside.
function rowsByKind() {
  const members = new Set((frontOf(state.x, state.y) || { rows: data.front }).rows);
  const found = { done: [], infeasible: [], failed: [], other: [], front: [], knee: [], published: [], below: [], beside: [] };
  for (let row = 0; row < numRows; row++) {
    if (!isKept(row)) continue;
    const kind = data.kinds[row];
    const [hasX, hasY] = [state.x, state.y].map((name) => valueOn(name, row) !== null);
    if (!hasX || !hasY) {
      if ((hasX || hasY) && UNJUDGED.includes(kind)) found[hasX ? "below" : "beside"].push(row);
    } else if (kind !== "done") found[kind].push(row);
    else if (row === data.knee) found.knee.push(row);
    else if (members.has(row)) found.front.push(row);
    else found[onFront.has(row) ? "other" : "done"].push(row);
  }
  return found;
}

function stairs(values) {
  const front = frontOf(state.x, state.y);
  if (!front) return [];
  const rows = front.rows.filter(isKept).sort((a, b) => values.x[a] - values.x[b]);
  const shape = objective[state.x].direction === "minimize" ? "hv" : "vh";
  return [{
    type: "scatter", mode: "lines", x: rows.map((row) => values.x[row]), y: rows.map((row) => values.y[row]), hoverinfo: "skip", showlegend: false,
    line: { shape, color: colour("front"), width: 1.2, dash: "dot" },
  }];
}

function tracesOf(found, values) {
  const traces = stairs(values);
  for (const kind of ["done", "infeasible", "failed", "other", "front", "knee"]) {
    if (!found[kind].length) continue;
    const shade = colour(SHADES[kind] || kind);
    const isMember = kind === "front" || kind === "knee";
    traces.push(points(kind, found[kind], values, isMember ? { error_x: bars(found[kind], state.x, shade), error_y: bars(found[kind], state.y, shade) } : {}));
  }
  const known = Object.keys(data.published).map(Number).filter((row) => values.x[row] !== null && values.y[row] !== null && isKept(row));
  const named = (labels, textposition) => ({ mode: "markers+text", text: labels, textposition, textfont: { color: colour("ink"), size: 11 }, cliponaxis: false });
  const [least, greatest] = extent(state.x);
  const side = (row) => (values.x[row] > (least + greatest) / 2 ? "middle left" : "middle right"); // away from the figure's edge
  if (known.length) traces.push(points("published", known, values, named(known.map((row) => ` ${data.published[row].title} `), known.map(side))));
  const compared = state.compared.filter((row) => values.x[row] !== null && values.y[row] !== null);
  if (compared.length) traces.push(points("compared", compared, values, { ...named(compared.map((row) => LETTERS[state.compared.indexOf(row)]), "middle left"), showlegend: false }));
  for (const [strip, axis, name] of [["below", { yaxis: "y2" }, state.y], ["beside", { xaxis: "x2" }, state.x]]) {
    for (const kind of UNJUDGED) {
      const rows = found[strip].filter((row) => data.kinds[row] === kind);
      if (rows.length) traces.push(points(kind, rows, values, { ...axis, name: `${kind}, ${name} not measured (${rows.length})` }));
    }
  }
  return traces;
}

function drawScatter() {
  const figure = document.getElementById("scatter");
  if (!figure || !window.Plotly) return;
  const values = { x: objective[state.x].values, y: objective[state.y].values };
  const found = rowsByKind();
  const shape = layout(title(state.x), title(state.y));
  shape.uirevision = `${state.x} ${state.y}`; // a zoom lasts as long as the axes do
  const strip = { domain: [0, 0.08], showticklabels: false, showgrid: false, zeroline: false, fixedrange: true };
  if (found.below.length) {
    shape.yaxis.domain = [0.12, 1];
    shape.xaxis.anchor = "y2";
    shape.yaxis2 = strip;
  }
  if (found.beside.length) {
    shape.xaxis.domain = [0.12, 1];
    shape.yaxis.anchor = "x2";
    shape.xaxis2 = strip;
  }
  Plotly.react(figure, tracesOf(found, values), shape, config);
  if (!figure.dataset.listens) listen(figure);
}

function listen(figure) {
  figure.dataset.listens = "true";
  figure.on("plotly_hover", ({ points: [point], event }) => showTip(point.customdata, event.clientX, event.clientY));
  figure.on("plotly_unhover", hideTip);
  figure.on("plotly_click", ({ points: [point] }) => openDetails(point.customdata));
}

// The rows that are drawn, from left to right.
function drawnRows() {
  const found = rowsByKind();
  const rows = Object.values(found).flat();
  const { values } = objective[state.x];
  return rows.sort((a, b) => (values[a] ?? -Infinity) - (values[b] ?? -Infinity));
}

function place(figure, row) {
  const { xaxis, xaxis2, yaxis, yaxis2 } = figure._fullLayout;
  const at = (value, axis, strip) => (value === null ? strip._offset + strip.d2p(0) : axis._offset + axis.d2p(value));
  const box = figure.getBoundingClientRect();
  const [x, y] = [objective[state.x].values[row], objective[state.y].values[row]];
  return [box.left + at(x, xaxis, xaxis2), box.top + at(y, yaxis, yaxis2)];
}

function moveOnScatter(event) {
  const figure = event.currentTarget;
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (event.key === "Enter" && pointed !== null) return openDetails(pointed);
  if (event.key === "Escape") return hideTip();
  if (!step && event.key !== "Home" && event.key !== "End") return undefined;
  event.preventDefault();
  const rows = drawnRows();
  if (!rows.length) return undefined;
  const at = rows.indexOf(pointed);
  const last = rows.length - 1;
  const start = rows.indexOf(data.knee);
  const next = event.key === "Home" ? 0 : event.key === "End" ? last : at < 0 ? Math.max(start, 0) : Math.min(Math.max(at + step, 0), last);
  pointed = rows[next];
  return showTip(pointed, ...place(figure, pointed));
}

function showTip(row, x, y) {
  const tip = document.getElementById("tip");
  const lines = data.objectives.map(({ name }) => element("div", {}, `${name} ${estimate(name, row)}`));
  const stages = stagesOf(row).map((name) => element("div", { className: "stage" }, `${name} ${stageText(stageOf(row, name))}`));
  const front = frontOf(state.x, state.y);
  const chances = pairTexts(row, front ? [front] : []).map((words) => element("div", {}, `P(front) of ${words}`));
  tip.replaceChildren(element("strong", {}, nameOf(row)), element("div", {}, kindText(row)), ...lines, ...chances, ...stages);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? Math.max(x - 14 - width, 4) : x + 14;
  tip.style.left = `${Math.min(left, Math.max(innerWidth - width - 4, 4))}px`;
  tip.style.top = `${Math.max(Math.min(y + 14, innerHeight - height - 4), 4)}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
