// The data of the page, and what the reader has chosen; whoever changes a choice calls `changed`.
const data = JSON.parse(document.getElementById("data").textContent);
const numRows = data.digests.length;
const objective = Object.fromEntries(data.objectives.map((column) => [column.name, column]));
const gene = Object.fromEntries(data.genes.map((column) => [column.name, column]));
const onFront = new Map(data.front.map((row, i) => [row, data.probability[i]]));
const MOST_COMPARED = 4;

const state = {
  x: data.axes.x,
  y: data.axes.y,
  ranges: new Map(), // by name of an axis: the least and the greatest that is kept
  axes: [], // names of objectives and genes, from left to right
  compared: [], // rows
};
const listeners = [];
const changed = () => listeners.forEach((listener) => listener());

// What a design has on an axis: a number, or null where it is not known or has no effect.
function valueOn(name, row) {
  if (objective[name]) return objective[name].values[row];
  const index = indexOf(gene[name], row);
  return index < 0 ? null : index;
}

const indexOf = (column, row) => (column.of ? column.of[row] : 0);

function geneValue(name, row) {
  const index = gene[name] ? indexOf(gene[name], row) : -1;
  return index < 0 ? null : gene[name].choices[index];
}

function isKept(row) {
  for (const [name, [low, high]] of state.ranges) {
    const value = valueOn(name, row);
    if (value === null || value < low || value > high) return false;
  }
  return true;
}

function keepBetween(name, low, high) {
  if (low <= extent(name)[0] && high >= extent(name)[1]) state.ranges.delete(name);
  else state.ranges.set(name, [low, high]);
  changed();
}

const extents = new Map();

// The least and the greatest value on an axis; of a gene, the first and the last of its choices.
function extent(name) {
  if (!extents.has(name)) {
    const values = objective[name] && objective[name].values.filter((value) => value !== null);
    const ends = values
      ? [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)]
      : [0, gene[name].choices.length - 1];
    extents.set(name, ends);
  }
  return extents.get(name);
}

// The front of two objectives as the ledger's numbers have it, with the probability of each member.
const frontOf = (x, y) => data.fronts.find((front) => x !== y && front.of.includes(x) && front.of.includes(y));
const kindOf = (row) => (row === data.knee ? "knee" : onFront.has(row) ? "front" : data.kinds[row]);

function toggleCompared(row) {
  if (state.compared.includes(row)) state.compared = state.compared.filter((other) => other !== row);
  else if (state.compared.length < MOST_COMPARED) state.compared = [...state.compared, row];
  changed();
}
