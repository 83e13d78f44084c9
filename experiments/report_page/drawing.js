// A UNet drawn from its genes: a row a level, heights as the widths are; letters and patterns tell what colours would.
const DRAWN = { width: 640, row: 62, tallest: 44, inset: 20, block: 24, transformer: 46, gap: 7 };
const SVG = "http://www.w3.org/2000/svg";
let numDrawings = 0;

function shapeOf(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const widest = () => Math.max(...data.genes.filter(({ name }) => /^level\d+\.width$/.test(name)).flatMap(({ choices }) => choices));

function written(text, x, y, kind, anchor = "middle") {
  return shapeOf("text", { x, y, class: kind, "text-anchor": anchor, "dominant-baseline": "central" }, text);
}

// One block with the transformers behind it, its left edge at `x`; `unit` shrinks what would not fit.
function blockAt(stage, x, y, height, unit, hatch, hasTransformer) {
  const isFull = stage.convolution === "full";
  const made = [
    shapeOf("rect", { x, y: y - height / 2, width: DRAWN.block * unit, height, class: "convolution", fill: isFull ? "var(--block)" : `url(#${hatch})` }),
    written(isFull ? "F" : "S", x + (DRAWN.block * unit) / 2, y, "letter"),
  ];
  if (hasTransformer) {
    const left = x + (DRAWN.block + 2) * unit;
    const width = DRAWN.transformer * unit;
    const rect = { x: left, y: y - height / 2, width, height, rx: 6, class: "transformer", "stroke-dasharray": stage.attentionFunction === "relu" ? "3 2" : "none" };
    const told = { self_cross: "s+c", self: "s", cross: "c" }[stage.attention] + (stage.sharesKv ? "*" : "");
    const lines = stage.depth > 1 ? [told, `×${stage.depth}`] : [told];
    made.push(shapeOf("rect", rect), ...lines.map((line, i) => written(line, left + width / 2, y + 11 * (i - (lines.length - 1) / 2), "letter")));
  }
  return made;
}

const blockWidth = (hasTransformer) => DRAWN.block + (hasTransformer ? 2 + DRAWN.transformer : 0) + DRAWN.gap;

function stageAt(stage, side, y, hatch) {
  const isMid = stage.name === "mid";
  // In the mid stage transformers stand between the blocks.
  const has = Array.from({ length: stage.blocks }, (_, i) => stage.depth > 0 && (!isMid || i < stage.blocks - 1));
  const natural = has.reduce((sum, one) => sum + blockWidth(one), 0) - DRAWN.gap;
  const room = DRAWN.width / 2 - 70 - stage.level * DRAWN.inset;
  const unit = Math.min(1, room / natural);
  const height = (DRAWN.tallest * stage.width) / widest();
  const inset = 10 + stage.level * DRAWN.inset;
  const begin = isMid ? (DRAWN.width - natural * unit) / 2 : side === "down" ? inset : DRAWN.width - inset - natural * unit;
  let x = begin;
  const made = has.flatMap((one) => {
    const drawn = blockAt(stage, x, y, height, unit, hatch, one);
    x += blockWidth(one) * unit;
    return drawn;
  });
  return { made, begin, end: begin + natural * unit, height };
}

function labelOf(stage) {
  return data.scale ? `${resolution(stage)}×${resolution(stage)}, ${channels(stage)} ch` : `width ${stage.width}`;
}

// The row's drawing; screen readers get the stages in words.
function drawUNet(row) {
  const stages = stagesOf(row).map((name) => stageOf(row, name));
  const levels = geneValue("num_levels", row);
  const hasMid = stages.some(({ name }) => name === "mid");
  const height = DRAWN.row * (levels + (hasMid ? 1 : 0)) + 8;
  const hatch = `hatch${numDrawings++}`;
  const words = stages.map((stage) => `${stage.name} ${labelOf(stage)}, ${stageText(stage)}`).join("; ");
  const svg = shapeOf("svg", { viewBox: `0 0 ${DRAWN.width} ${height}`, role: "img", class: "unet", "aria-label": `UNet: ${words}` });
  const pattern = { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  const ground = shapeOf("rect", { width: 5, height: 5, fill: "var(--block)" });
  svg.append(shapeOf("defs", {}, shapeOf("pattern", pattern, ground, shapeOf("rect", { width: 1.6, height: 5, fill: "var(--hatch)" }))));
  const middle = (level) => DRAWN.row * (level + 0.5) + 4;
  const placed = {};
  for (const stage of stages) {
    const y = stage.name === "mid" ? middle(levels) : middle(stage.level);
    placed[stage.name] = { ...stageAt(stage, stage.name.replace(/\d+/, ""), y, hatch), y };
  }
  svg.append(...flow(placed, levels));
  for (const { made } of Object.values(placed)) svg.append(...made);
  for (let level = 0; level < levels; level++) svg.append(written(labelOf(stageOf(row, `down${level}`)), DRAWN.width / 2, middle(level) - 9, "quiet"));
  return svg;
}

// Skips across, and the way down, through the middle and up: out below a stage's outer block, in at the next one's outer edge.
function flow(placed, levels) {
  const line = (points, kind) => shapeOf("polyline", { points: points.map((point) => point.join()).join(" "), class: kind });
  const lines = [];
  for (let level = 0; level < levels; level++) {
    const [down, up] = [placed[`down${level}`], placed[`up${level}`]];
    lines.push(line([[down.end, down.y], [up.begin, up.y]], "skip"));
    const below = placed[`down${level + 1}`] || placed.mid;
    const back = placed[`up${level + 1}`] || placed.mid;
    if (below) {
      const [x, end] = [down.begin + 12, up.end - 12];
      lines.push(line([[x, down.y], [x, below.y], [below.begin, below.y]], "way"), line([[back.end, back.y], [end, back.y], [end, up.y]], "way"));
    } else lines.push(line([[down.end, down.y + 4], [up.begin, up.y + 4]], "way"));
  }
  return lines;
}

function drawingKey() {
  const words = "F full convolution, S separable (hatched); rounded: transformer, s self-attention, c cross-attention, * shared keys and " +
    "values, dashed: ReLU instead of softmax. Heights are to scale with the widths; dotted lines are skips.";
  return element("p", { className: "key" }, words);
}
