// What all figures share: the colours of the reader's scheme, and Plotly, which is read once the page is painted.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const config = { displayModeBar: false, responsive: true };

async function readPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

function layout(x, y) {
  const axis = (text) => ({
    title: { text, standoff: 10 }, gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true,
    exponentformat: "SI", nticks: 7,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 12, r: 18, t: 16, b: 12 },
    font: { family: "system-ui, sans-serif", size: 13, color: colour("quiet") }, hovermode: "closest", dragmode: "zoom",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 }, itemsizing: "constant" }, xaxis: axis(x), yaxis: axis(y),
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
  };
}

function drawHypervolume(figure) {
  const line = { shape: "hv", color: colour("front"), width: 2 };
  const history = data.hypervolume.history;
  const trace = { type: "scatter", mode: "lines", line, x: history.map((_, i) => i + 1), y: history, hovertemplate: "%{y:.4f} after %{x}<extra></extra>" };
  Plotly.react(figure, [trace], layout("evaluations done", "hypervolume, as a share"), config);
}

function drawSupernet(figure) {
  const shades = ["front", "knee", "infeasible", "quiet"];
  const dashes = ["solid", "dash", "dot", "dashdot"];
  const columns = Object.entries(data.supernet.series);
  const traces = columns.map(([name, y], i) => ({
    type: "scatter", mode: "lines", name, x: data.supernet.step, y,
    line: { color: colour(shades[i % shades.length]), dash: dashes[i % dashes.length], width: 1.5 },
  }));
  const isPositive = columns.every(([, column]) => column.every((value) => value > 0));
  const shape = layout("step", traces.length === 1 ? traces[0].name : "");
  Plotly.react(figure, traces, { ...shape, yaxis: { ...shape.yaxis, type: isPositive ? "log" : "linear" } }, config);
}

function drawCurves() {
  for (const [id, drawn] of [["hypervolume", drawHypervolume], ["supernet", drawSupernet]]) {
    const figure = document.getElementById(id);
    if (figure) drawn(figure);
  }
}
