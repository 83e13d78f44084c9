// Numbers and names as people read them; the numbers as the command line writes them.
const PREFIXES = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];

function amount(value, unit) {
  if (value === null || value === undefined) return "not known";
  if (["MACs", "parameters", "bytes"].includes(unit)) {
    const [factor, prefix] = PREFIXES.find(([least]) => Math.abs(value.toPrecision(3)) >= least) || [1, ""];
    return `${Number((value / factor).toPrecision(3))} ${prefix}${unit === "bytes" ? "B" : ""}`.trim();
  }
  const digits = value.toPrecision(unit ? 3 : 4);
  if (unit && Math.abs(digits) >= 1000) return `${Math.round(value).toLocaleString("en")} ${unit}`;
  return `${digits} ${unit}`.trim();
}

// A number that fits a narrow field, and that a field of numbers takes.
const short = (value) => (Math.abs(value) < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2).replace("e+", "e"));
const title = (name) => (objective[name].unit && objective[name].unit !== name ? `${name} (${objective[name].unit})` : name);
const hasInterval = (column, row) => column.low && column.low[row] !== null && column.high[row] > column.low[row];

function estimate(name, row) {
  const column = objective[name];
  const value = column.values[row];
  if (value === null || !hasInterval(column, row)) return amount(value, column.unit);
  const half = (column.high[row] - column.low[row]) / 2;
  return `${amount(value, column.unit)} ±${Number(((100 * half) / Math.abs(value)).toPrecision(2))}%`;
}

function kindText(row) {
  const kind = data.kinds[row];
  const design = data.published[row];
  const names = { done: "dominated", published: `published, ${design && design.is_judged ? "judged by the search alone" : "not evaluated here"}` };
  const told = row === data.knee ? "the knee of the front" : onFront.has(row) ? "on the front" : names[kind] || kind;
  return design && kind !== "published" ? `${told}, published as ${design.title}` : told;
}

// The fronts of two objectives that a design is on, each with its probability.
function pairTexts(row, fronts) {
  const on = fronts.filter((front) => front.rows.includes(row));
  return on.map((front) => `${front.of.join(" and ")} ${front.probability[front.rows.indexOf(row)].toFixed(2)}`);
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;
const nameOf = (row) => (data.kinds[row] === "published" ? data.published[row].title : data.digests[row]);
const choiceText = (choice) => String(choice).replace("_", " + ");
const geneText = (name, row) => (geneValue(name, row) === null ? "-" : choiceText(geneValue(name, row)));

// Names of the stages of a design, in the order of execution.
function stagesOf(row) {
  const levels = Array.from({ length: geneValue("num_levels", row) }, (_, i) => i);
  const mid = geneValue("mid.num_blocks", row) ? ["mid"] : [];
  return [...levels.map((i) => `down${i}`), ...mid, ...levels.reverse().map((i) => `up${i}`)];
}

function stageOf(row, name) {
  const of = (field) => geneValue(`${name}.${field}`, row);
  const level = name === "mid" ? geneValue("num_levels", row) - 1 : Number(name.replace(/\D+/, ""));
  return {
    name, level, width: geneValue(`level${level}.width`, row), blocks: of("num_blocks"), convolution: of("convolution"),
    depth: of("transformer_depth") || 0, attention: of("attention"), attentionFunction: of("attention_function"),
    expansion: of("expansion"), sharesKv: of("shared_kv"), gating: of("gating"),
  };
}

function stageText(stage) {
  if (!stage.depth) return `${stage.convolution} ×${stage.blocks}`;
  const extras = `${stage.sharesKv ? ", shared K/V" : ""}${stage.gating === "gelu" ? "" : `, ${stage.gating}`}`;
  const layer = `${choiceText(stage.attention)}, ${stage.attentionFunction}, ff×${stage.expansion}${extras}`;
  const layers = `[${layer}]${stage.depth > 1 ? ` ×${stage.depth}` : ""}`;
  return stage.name === "mid" ? `${stage.convolution} ×${stage.blocks} with ${layers} between` : `(${stage.convolution} + ${layers}) ×${stage.blocks}`;
}

const channels = (stage) => (data.scale ? stage.width * data.scale.base_width : null);
const resolution = (stage) => (data.scale ? data.scale.resolution >> stage.level : null);
const command = (row) => `pocketunet handoff ${data.run} --pick ${data.digests[row]} --out ${data.digests[row]}`;

// An element with properties and children; texts are set as text, never as markup.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}
