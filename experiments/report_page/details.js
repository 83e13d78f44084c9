// What opens on a design: its drawing, its numbers, what each stage costs, its samples, and how to hand it over.
function rowOfCells(head, ...cells) {
  return element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((cell) => element("td", {}, cell)));
}

function scrolled(table) {
  return element("div", { className: "scroll", tabIndex: 0 }, table);
}

function headed(kind, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  return scrolled(element("table", { className: kind }, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function objectiveRows(row) {
  return data.objectives.map(({ name, low, high, n }) => {
    const { unit } = objective[name];
    const interval = hasInterval(objective[name], row) ? `${amount(low[row], unit)} to ${amount(high[row], unit)}` : "exact";
    const known = objective[name].values[row] !== null;
    return rowOfCells(name, estimate(name, row), known ? interval : "", known && n && interval !== "exact" ? String(n) : "");
  });
}

function stageRows(row) {
  const described = new Map(stagesOf(row).map((name) => [name, stageOf(row, name)]));
  if (!data.stages) return [...described].map(([name, stage]) => rowOfCells(name, labelOf(stage), stageText(stage)));
  const { layouts, of, parameters, macs, peak_activation_bytes: bytes } = data.stages;
  return layouts[of[row]].map(({ stage, resolution: pixels }, i) => {
    const known = described.get(stage);
    const costs = [amount(parameters[row][i], "parameters"), amount(macs[row][i], "MACs"), amount(bytes[row][i], "bytes")];
    return rowOfCells(stage, known ? labelOf(known) : `${pixels}×${pixels}`, known ? stageText(known) : "", ...costs);
  });
}

function commandOf(row) {
  const copy = element("button", { type: "button", className: "copy" }, "Copy");
  return element("p", { className: "command" }, element("code", {}, command(row)), copy);
}

function samplesOf(row) {
  const grid = document.querySelector(`figure img[data-row="${row}"]`);
  return grid ? element("img", { className: "samples", alt: grid.alt, src: grid.src }) : null;
}

function compareButton(row) {
  const isIn = state.compared.includes(row);
  const isFull = !isIn && state.compared.length >= MOST_COMPARED;
  const words = isIn ? "Take out of the comparison" : isFull ? "Four are compared already" : "Add to the comparison";
  const button = element("button", { type: "button", className: "toggle-compared", disabled: isFull }, words);
  button.dataset.row = row;
  return button;
}

function openDetails(row) {
  hideTip();
  const dialog = document.getElementById("details");
  const chance = onFront.has(row) ? `, with a probability of ${onFront.get(row).toFixed(2)}` : "";
  const source = data.published[row] && data.published[row].source;
  const pairs = pairTexts(row, data.fronts);
  const heads = ["stage", "input", "made of", ...(data.stages ? ["parameters", "MACs", "activations"] : [])];
  dialog.replaceChildren(
    element("header", {},
      element("h2", { id: "details-title", tabIndex: -1 }, nameOf(row)),
      element("button", { type: "button", className: "close", ariaLabel: "Close" }, "Close"),
    ),
    element("p", {}, [sentence(`${kindText(row)}${chance}`), data.reasons[row], source && `Built as ${source} says.`].filter(Boolean).join(" ")),
    element("div", { className: "drawn", tabIndex: 0 }, drawUNet(row)), drawingKey(),
    headed("numbers", ["objective", "value", "interval", "n"], objectiveRows(row)),
    pairs.length ? element("p", { className: "key" }, `P(front) of two objectives alone: ${pairs.join("; ")}.`) : "",
    headed("stages", heads, stageRows(row)),
    samplesOf(row) || "",
    data.kinds[row] === "published" && !data.published[row].is_judged ? element("p", { className: "key" }, "The run has not evaluated it, so there is nothing to hand over.") : commandOf(row),
    element("p", { className: "key" }, `digest ${data.digests[row]}${data.kinds[row] === "done" ? `, measured the way of fingerprint ${data.fingerprint}` : ""}`),
    data.kinds[row] === "failed" ? "" : compareButton(row),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  document.getElementById("details-title").focus();
}

async function copyCommand(button) {
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
