// Two to four designs side by side; what differs is marked by a sign and by weight.
function comparedRow(name, texts) {
  const differs = new Set(texts).size > 1;
  const row = rowOfCells(name, differs ? "≠" : "=", ...texts);
  row.className = differs ? "differs" : "same";
  row.cells[1].setAttribute("aria-label", differs ? "differs" : "the same");
  return row;
}

function drawComparison() {
  const home = document.getElementById("comparison");
  if (!home) return;
  const rows = state.compared;
  const hint = ["Mark two to four designs in the table above, or in what opens when you click on one.", "One is marked; mark another."];
  document.getElementById("compare-hint").textContent = hint[rows.length] || `${rows.length} designs; ≠ marks what differs.`;
  if (rows.length < 2) return home.replaceChildren();
  const heads = rows.map((row, i) => {
    const open = element("button", { type: "button", className: "open" }, nameOf(row));
    const out = element("button", { type: "button", className: "toggle-compared", ariaLabel: `Take ${nameOf(row)} out` }, "×");
    open.dataset.row = out.dataset.row = row;
    return element("th", { scope: "col" }, `${LETTERS[i]} `, open, " ", out, element("div", { className: "small" }, drawUNet(row)));
  });
  const genes = data.genes.map(({ name }) => comparedRow(name, rows.map((row) => geneText(name, row))));
  const table = element("table", { className: "compared" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "what"), element("th", { scope: "col", ariaLabel: "same or different" }, ""), ...heads)),
    element("tbody", {},
      comparedRow("kind", rows.map(kindText)),
      comparedRow("P(front)", rows.map((row) => (onFront.has(row) ? onFront.get(row).toFixed(2) : "-"))),
      ...data.objectives.map(({ name }) => comparedRow(name, rows.map((row) => estimate(name, row)))),
      ...genes.filter((row) => row.className === "differs"),
    ),
  );
  table.style.setProperty("--designs", rows.length);
  const same = genes.filter((row) => row.className === "same").length;
  return home.replaceChildren(scrolled(table), element("p", { className: "key" }, `${same} genes are the same in all, and not listed.`));
}
