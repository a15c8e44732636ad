// The script of page.html: it draws everything from the data that the page carries.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Children that are strings become text, never markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const colour = (group) => `var(--c${group % 8})`;
const dashes = (group) => ["", "7 4", "2 3", "9 3 2 3"][Math.floor(group / 8) % 4];

function swatch(group) {
  const element = make("span", { className: "swatch" });
  element.style.background = colour(group);
  return element;
}

// Tables

function compare(one, other) { // two cells: [text, number or null]
  if (one[1] !== null && other[1] !== null) return one[1] - other[1];
  return one[0].localeCompare(other[0], undefined, { numeric: true });
}

function fillTable(id) {
  const { columns, rows } = data.tables[id];
  const body = make("tbody");
  const show = (sorted) => body.replaceChildren(...sorted.map(makeRow));
  const heads = columns.map((name, column) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      const sign = heads[column].getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const head of heads) head.removeAttribute("aria-sort");
      heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const filled = rows.filter((row) => row.cells[column][0] !== "");
      const empty = rows.filter((row) => row.cells[column][0] === "");
      show([...filled.sort((one, other) => sign * compare(one.cells[column], other.cells[column])), ...empty]);
    });
    return make("th", { scope: "col" }, button);
  });
  show(rows);
  byId(id).replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  byId(id).hidden = rows.length === 0;
}

function makeRow(row) {
  const cells = row.cells.map(([text]) => make("td", { className: text.length > 32 ? "wide" : "" }, text));
  if (row.group !== null) cells[0].prepend(swatch(row.group));
  return make("tr", {}, ...cells);
}

// Curves

const hidden = new Set();

function fillMetrics() {
  for (const file of ["eval.jsonl", "metrics.jsonl"]) {
    const names = new Set(data.runs.flatMap((run) => Object.keys(run.curves[file] ?? {})));
    const options = [...names].map((name) => make("option", { value: JSON.stringify([file, name]) }, name));
    if (options.length) byId("metric").append(make("optgroup", { label: file }, ...options));
  }
  byId("legend").replaceChildren(...data.groups.map((name, group) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { hidden[box.checked ? "delete" : "add"](group); drawChart(); });
    return make("label", {}, box, " ", swatch(group), name);
  }));
}

function chosenCurves() {
  const [file, name] = JSON.parse(byId("metric").value);
  const log = byId("log").checked;
  return data.runs.flatMap((run) => {
    const [steps, values] = run.curves[file]?.[name] ?? [[], []];
    const points = steps.map((step, index) => [step, log ? Math.log10(values[index]) : values[index], values[index]]);
    const finite = points.filter(([, height]) => Number.isFinite(height));
    return finite.length && !hidden.has(run.group) ? [{ run, points: finite }] : [];
  });
}

function ticks(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power * count >= (high - low) * 0.999);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, index) => (first + index) * step);
}

function extent(numbers) {
  const low = numbers.reduce((a, b) => Math.min(a, b)), high = numbers.reduce((a, b) => Math.max(a, b));
  const margin = high > low ? 0 : Math.abs(low) / 10 || 1;
  return [low - margin, high + margin];
}

let scale = null; // of the chart as drawn: its curves, and the step under a position

function drawChart() {
  const chart = byId("chart"), curves = chosenCurves(), log = byId("log").checked;
  const width = chart.clientWidth, height = chart.clientHeight, [left, right, top, bottom] = [58, 26, 10, 26];
  byId("reading").textContent = "";
  scale = null;
  if (!curves.length) {
    chart.replaceChildren(draw("text", { x: left, y: 40 }, log ? "No positive values." : "No run is chosen."));
    return;
  }
  const [low, high] = extent(curves.flatMap(({ points }) => points.map((point) => point[1])));
  const [start, end] = extent(curves.flatMap(({ points }) => points.map((point) => point[0])));
  const x = (step) => left + (step - start) / (end - start) * (width - left - right);
  const y = (value) => height - bottom - (value - low) / (high - low) * (height - top - bottom);
  const format = (value) => Number((log ? 10 ** value : value).toPrecision(3)).toString();
  const across = ticks(low, high, 5).flatMap((value) => [
    draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
    draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ]);
  const down = ticks(start, end, Math.max(2, Math.min(8, width / 110))).map((step) =>
    draw("text", { x: x(step), y: height - 6, "text-anchor": "middle" }, Number(step.toPrecision(6)).toString()));
  down.push(draw("text", { x: left - 12, y: height - 6, "text-anchor": "end" }, "step"));
  const lines = curves.map(({ run, points }) => {
    const path = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const style = `stroke: ${colour(run.group)}; stroke-dasharray: ${dashes(run.group) || "none"}`;
    const mark = { cx: x(points[0][0]), cy: y(points[0][1]), r: 3, style: `fill: ${colour(run.group)}` };
    const shape = points.length > 1 ? ["polyline", { class: "curve", points: path, style }] : ["circle", mark];
    return draw(...shape, draw("title", {}, run.name));
  });
  const cursor = draw("line", { class: "grid", y1: top, y2: height - bottom, x1: -9, x2: -9 });
  chart.replaceChildren(...across, ...down, cursor, ...lines);
  scale = { curves, x, cursor, stepAt: (position) => start + (position - left) / (width - left - right) * (end - start) };
}

function readChart(event) {
  if (!scale) return;
  const sought = scale.stepAt(event.clientX - byId("chart").getBoundingClientRect().left);
  const nearest = (points) => points.reduce((a, b) => Math.abs(b[0] - sought) < Math.abs(a[0] - sought) ? b : a);
  const step = nearest(scale.curves.flatMap(({ points }) => points))[0];
  for (const side of ["x1", "x2"]) scale.cursor.setAttribute(side, scale.x(step));
  const values = scale.curves.map(({ run, points }) => [run.name, points.find((point) => point[0] === step)]);
  const shown = values.filter(([, point]) => point).map(([name, point]) => `${name} ${Number(point[2].toPrecision(4))}`);
  byId("reading").textContent = `step ${step}: ${shown.join(", ")}`;
}

// Samples

function fillSamples() {
  const steps = [...new Set(data.runs.flatMap((run) => run.pictures.map(([step]) => step)))].sort((a, b) => a - b);
  const runs = data.runs.filter((run) => run.pictures.length);
  byId("samples").hidden = runs.length + data.real.length === 0;
  const real = data.real.map(([name, uri]) => {
    const caption = data.real.length > 1 ? `real images, of ${name}` : "real images";
    return make("figure", {}, make("img", { src: uri, alt: caption }), make("figcaption", {}, caption));
  });
  const figures = runs.map((run) => ({ run, image: make("img"), caption: make("figcaption") }));
  const slider = byId("step");
  const show = () => {
    const step = steps[slider.value] ?? 0;
    byId("shown").textContent = step;
    for (const { run, image, caption } of figures) {
      const [newest, uri] = run.pictures.findLast((picture) => picture[0] <= step) ?? run.pictures[0];
      Object.assign(image, { src: uri, alt: `samples of ${run.name}, step ${newest}` });
      caption.replaceChildren(swatch(run.group), `${run.name}, step ${newest}`);
    }
  };
  slider.max = Math.max(0, steps.length - 1);
  slider.value = slider.max;
  slider.addEventListener("input", show);
  byId("pictures").replaceChildren(...real, ...figures.map(({ image, caption }) => make("figure", {}, image, caption)));
  show();
}

for (const id of Object.keys(data.tables)) fillTable(id);
fillMetrics();
fillSamples();
byId("about").textContent = `${data.runs.length} runs, ${data.groups.length} settings`;
byId("points").textContent = data.bounds.points;
byId("bound").textContent = data.bounds.pictures;
byId("same").textContent = data.groups.length > 1 ? "" : "The configs differ in the seed at most.";
for (const id of ["metric", "log"]) byId(id).addEventListener("change", drawChart);
byId("chart").addEventListener("pointermove", readChart);
byId("chart").addEventListener("pointerdown", readChart);
new ResizeObserver(drawChart).observe(byId("chart"));
