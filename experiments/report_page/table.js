// The members' table: sorted by any column, restricted to what is kept, with a mark on what is compared.
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head, i) => {
    if (head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", i !== column ? "none" : descending ? "descending" : "ascending");
  });
  const key = (row) => row.cells[column].dataset.value;
  const isText = heads[column].textContent === "digest";
  const compare = (a, b) => (isText ? key(a).localeCompare(key(b)) : Number(key(a)) - Number(key(b)));
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => (descending ? -1 : 1) * compare(a, b)));
}

function showMembers() {
  const table = document.getElementById("members");
  if (!table) return;
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = !isKept(Number(row.dataset.row));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("none-kept").hidden = shown > 0;
  const isFull = state.compared.length >= MOST_COMPARED;
  for (const box of table.querySelectorAll(".choose")) {
    box.checked = state.compared.includes(Number(box.dataset.row));
    box.disabled = isFull && !box.checked;
  }
}
