// Wires the page together: what the reader does changes the state, and the state draws.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target.id === "details") event.target.close(); // a click beside the dialog
  if (!button) return;
  if (button.className === "sort") sortBy(button.closest("table"), button.closest("th").cellIndex);
  if (button.className === "open") openDetails(Number(button.dataset.row));
  if (button.className === "close") button.closest("dialog").close();
  if (button.className === "copy") copyCommand(button);
  if (button.className === "toggle-compared") {
    toggleCompared(Number(button.dataset.row));
    if (button.closest("dialog")) button.replaceWith(compareButton(Number(button.dataset.row)));
  }
  if (button.id === "reset") {
    state.ranges.clear();
    changed();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.className === "choose") toggleCompared(Number(event.target.dataset.row));
  if (event.target.closest("#axes")) chooseAxes();
  if (event.target.id === "axis-x" || event.target.id === "axis-y") {
    state[event.target.id.at(-1)] = event.target.value;
    pointed = null;
    hideTip();
    drawScatter();
  }
});

// However often the state changes, the figures are drawn once a frame.
let isAsked = false;
function drawSoon() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    drawParallel();
    if (!isBrushing) drawScatter();
  });
}

function drawAll() {
  drawParallel();
  drawScatter();
  drawCurves();
}

function begin() {
  const scatter = document.getElementById("scatter");
  if (scatter) {
    state.axes = firstAxes();
    buildFilters();
    buildAxes();
    listeners.push(showFilters, showMembers, drawComparison, drawSoon);
    changed();
    scatter.addEventListener("keydown", moveOnScatter);
    scatter.addEventListener("blur", hideTip);
    document.getElementById("parallel").addEventListener("pointerdown", brush);
    new ResizeObserver(drawParallel).observe(document.getElementById("parallel-scroll"));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  // The first frame is the text and the tables; Plotly is read after it.
  requestAnimationFrame(() => setTimeout(async () => {
    await readPlotly();
    drawScatter();
    drawCurves();
    performance.mark("figures-drawn");
    document.documentElement.dataset.drawn = "true";
  }));
}

begin();
