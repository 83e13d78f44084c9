// The ends of what is kept on each axis as inputs, for the keyboard and for exact numbers; and which axes there are.
function filterOf(name) {
  const ends = ["least", "greatest"].map((end, i) => {
    const label = `${name}, ${end}`;
    if (objective[name]) return element("input", { type: "number", step: "any", className: end, ariaLabel: label, placeholder: short(extent(name)[i]) });
    const options = gene[name].choices.map((choice, n) => element("option", { value: n }, choiceText(choice)));
    return element("select", { className: end, ariaLabel: label }, ...options);
  });
  const row = element("fieldset", {}, element("legend", {}, name), ends[0], element("span", {}, "to"), ends[1]);
  row.dataset.axis = name;
  row.addEventListener("change", () => {
    const [low, high] = ends.map((end, i) => (end.value === "" ? [-Infinity, Infinity][i] : Number(end.value)));
    keepBetween(name, low, high);
  });
  return row;
}

function buildFilters() {
  const home = document.getElementById("filters");
  if (home) home.replaceChildren(...state.axes.map(filterOf));
}

function showFilters() {
  for (const row of document.querySelectorAll("#filters fieldset")) {
    const name = row.dataset.axis;
    const range = state.ranges.get(name);
    row.classList.toggle("set", Boolean(range));
    ["least", "greatest"].forEach((end, i) => {
      const input = row.querySelector(`.${end}`);
      const value = range ? range[i] : objective[name] ? null : extent(name)[i];
      const isOpen = value === null || !Number.isFinite(value);
      if (input !== document.activeElement || isOpen) input.value = isOpen ? (objective[name] ? "" : extent(name)[i]) : Number(value.toPrecision(6));
    });
  }
  const shown = Array.from({ length: numRows }, (_, row) => row).filter((row) => data.kinds[row] !== "failed");
  const kept = shown.filter(isKept);
  const members = data.front.filter(isKept).length;
  document.getElementById("kept").textContent = `${kept.length} of ${shown.length} designs kept, ${members} of ${data.front.length} on the front`;
  document.getElementById("reset").disabled = !state.ranges.size;
}

function buildAxes() {
  const names = [...data.objectives.map(({ name }) => name), ...data.genes.filter((column) => column.of).map(({ name }) => name)];
  const boxes = names.map((name) => {
    const box = element("input", { type: "checkbox", checked: state.axes.includes(name), value: name });
    return element("label", {}, box, name);
  });
  document.querySelector("#axes div").replaceChildren(...boxes);
}

function chooseAxes() {
  const boxes = [...document.querySelectorAll("#axes input")];
  state.axes = boxes.filter((box) => box.checked).map((box) => box.value);
  for (const name of [...state.ranges.keys()]) if (!state.axes.includes(name)) state.ranges.delete(name);
  buildFilters();
  changed();
}
