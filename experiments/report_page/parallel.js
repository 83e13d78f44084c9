// Parallel coordinates: a line a design over objectives and genes; drawing along an axis keeps a part of it.
const AXIS = { top: 62, bottom: 46, side: 76, least: 106, reach: 18, spread: 14 };

let isBrushing = false; // the scatter waits for the end of it: drawing thousands of points anew takes longer than a frame

const firstAxes = () => {
  const varied = data.genes.filter((column) => column.of).map((column) => column.name);
  const telling = varied.filter((name) => /^level\d+\.width$|^num_levels$/.test(name));
  const blocks = varied.filter((name) => /num_blocks$/.test(name));
  return [...data.objectives.map(({ name }) => name), ...[...telling, ...blocks].slice(0, 5)];
};

function parallelShape() {
  const home = document.getElementById("parallel");
  const shown = home.parentElement.clientWidth;
  const width = Math.max(shown, 2 * AXIS.side + AXIS.least * (state.axes.length - 1));
  const height = 340;
  const gap = state.axes.length > 1 ? (width - 2 * AXIS.side) / (state.axes.length - 1) : 0;
  return { home, width, height, x: (i) => AXIS.side + i * gap, low: height - AXIS.bottom, high: AXIS.top };
}

// Where a value stands; what is not known, or has no effect, stands below the axis.
function heightOn(shape, name, value) {
  if (value === null) return shape.low + 20;
  const [least, greatest] = extent(name);
  return greatest > least ? shape.low - ((value - least) / (greatest - least)) * (shape.low - shape.high) : (shape.low + shape.high) / 2;
}

function valueAt(shape, name, y) {
  const [least, greatest] = extent(name);
  const share = Math.min(Math.max((shape.low - y) / (shape.low - shape.high), 0), 1);
  return least + share * (greatest - least);
}

function drawParallel() {
  const home = document.getElementById("parallel");
  if (!home) return;
  const shape = parallelShape();
  const canvas = home.firstElementChild;
  const ratio = window.devicePixelRatio || 1;
  home.style.width = `${shape.width}px`;
  home.style.height = `${shape.height}px`;
  canvas.width = shape.width * ratio;
  canvas.height = shape.height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  drawLines(pen, shape);
  state.axes.forEach((name, i) => drawAxis(pen, shape, name, i));
  placeHandles(shape);
}

function drawLines(pen, shape) {
  // Choices are few: their lines are spread a little, each design by its own share of the golden ratio.
  const aside = (name, row) => (gene[name] ? (((row * 0.618) % 1) - 0.5) * AXIS.spread : 0);
  const heights = (name) => Array.from({ length: numRows }, (_, row) => heightOn(shape, name, valueOn(name, row)) + aside(name, row));
  const columns = state.axes.map(heights);
  const isUsed = (row) => data.kinds[row] !== "failed";
  const rows = Array.from({ length: numRows }, (_, row) => row).filter(isUsed);
  const [kept, dropped] = [rows.filter(isKept), rows.filter((row) => !isKept(row))];
  const stroke = (chosen, shade, width, opacity, dash = []) => {
    Object.assign(pen, { strokeStyle: colour(shade), lineWidth: width, globalAlpha: opacity });
    pen.setLineDash(dash);
    pen.beginPath();
    for (const row of chosen) columns.forEach((column, i) => (i ? pen.lineTo(shape.x(i), column[row]) : pen.moveTo(shape.x(0), column[row])));
    pen.stroke();
  };
  // Each line on its own would blend better; one path for all is what thousands can afford.
  const faint = Math.max(0.03, Math.min(0.5, 60 / kept.length));
  if (state.ranges.size) stroke(dropped, "line", 0.6, Math.min(0.6, 300 / dropped.length));
  for (let i = 0; i < kept.length; i += 50) stroke(kept.slice(i, i + 50).filter((row) => kindOf(row) === "done"), "dominated", 1, faint * 2);
  stroke(kept.filter((row) => data.kinds[row] === "infeasible"), "infeasible", 1, faint, [2, 3]);
  stroke(kept.filter((row) => kindOf(row) === "front"), "front", 1.8, 0.9);
  stroke(kept.filter((row) => kindOf(row) === "published"), "ink", 1.4, 0.9, [6, 3]);
  stroke(kept.filter((row) => row === data.knee), "knee", 3, 1, [10, 3]);
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function drawAxis(pen, shape, name, i) {
  const x = shape.x(i);
  Object.assign(pen, { strokeStyle: colour("quiet"), lineWidth: 1, textAlign: "center", textBaseline: "alphabetic" });
  pen.beginPath();
  pen.moveTo(x, shape.high);
  pen.lineTo(x, shape.low);
  pen.stroke();
  const range = state.ranges.get(name);
  if (range) {
    const [bottom, top] = range.map((value) => Math.min(Math.max(heightOn(shape, name, value), shape.high), shape.low));
    const slack = bottom - top < 8 ? 4 : 0;
    Object.assign(pen, { fillStyle: colour("front"), globalAlpha: 0.3 });
    pen.fillRect(x - 7, top - slack, 14, bottom - top + 2 * slack);
    pen.globalAlpha = 1;
    pen.strokeStyle = colour("front");
    pen.strokeRect(x - 7, top - slack, 14, bottom - top + 2 * slack);
  }
  const write = (text, y, font, shade) => {
    pen.font = font;
    const width = pen.measureText(text).width + 6;
    Object.assign(pen, { fillStyle: colour("card"), globalAlpha: 0.85 });
    pen.fillRect(x - width / 2, y - 11, width, 15);
    Object.assign(pen, { fillStyle: colour(shade), globalAlpha: 1 });
    pen.fillText(text, x, y);
  };
  const lines = name.split(".").flatMap((part) => (part.length > 10 ? part.split("_") : [part]));
  lines.reverse().forEach((line, n) => write(line, shape.high - 16 - 14 * n, "600 12px system-ui, sans-serif", "ink"));
  if (objective[name]) {
    const [least, greatest] = extent(name);
    write(amount(greatest, objective[name].unit), shape.high - 2, "11px system-ui, sans-serif", "quiet");
    write(amount(least, objective[name].unit), shape.low + 14, "11px system-ui, sans-serif", "quiet");
  } else {
    gene[name].choices.forEach((choice, n) => write(choiceText(choice), heightOn(shape, name, n) + 4, "11px system-ui, sans-serif", "quiet"));
  }
}

// A strip over each axis takes the pointer, so that a finger beside it scrolls.
function placeHandles(shape) {
  const canvas = shape.home.firstElementChild;
  const handles = state.axes.map((name, i) => {
    const handle = element("div", { className: "handle", title: `${name}: draw to keep a part, click to let go` });
    handle.dataset.axis = name;
    Object.assign(handle.style, { left: `${shape.x(i) - AXIS.reach}px`, width: `${2 * AXIS.reach}px`, top: `${shape.high - 8}px`, height: `${shape.low - shape.high + 16}px` });
    return handle;
  });
  shape.home.replaceChildren(canvas, ...handles);
}

function brush(event) {
  const handle = event.target.closest(".handle");
  if (!handle) return;
  event.preventDefault();
  const name = handle.dataset.axis;
  const shape = parallelShape();
  const top = shape.home.getBoundingClientRect().top;
  const begun = event.clientY - top;
  const move = ({ clientY }) => {
    const ends = [begun, clientY - top].map((y) => valueAt(shape, name, y)).sort((a, b) => a - b);
    if (Math.abs(clientY - top - begun) < 4) return;
    keepBetween(name, ...(gene[name] ? [Math.ceil(ends[0] - 0.4), Math.floor(ends[1] + 0.4)] : ends));
  };
  const up = (ended) => {
    isBrushing = false;
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", up);
    removeEventListener("pointercancel", up);
    if (ended.type === "pointerup" && Math.abs(ended.clientY - top - begun) < 4) keepBetween(name, -Infinity, Infinity);
    else changed();
  };
  isBrushing = true;
  addEventListener("pointermove", move);
  addEventListener("pointerup", up);
  addEventListener("pointercancel", up);
}
