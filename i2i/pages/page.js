"use strict";
// The state of the controls is in the fragment of the address, so that it survives a reload and can be passed on.
const state = new URLSearchParams(location.hash.slice(1));
let touched = 0;
function remember(name, value) {
  touched = Date.now();
  state.set(name, value);
  try { history.replaceState(null, "", "#" + state); } catch (error) { /* not allowed for some local files */ }
}
function control(element, name, change) {
  if (state.has(name)) {
    if (element.type === "checkbox") element.checked = state.get(name) === "1"; else element.value = state.get(name);
  }
  element.addEventListener("input", () => {
    remember(name, element.type === "checkbox" ? Number(element.checked) : element.value);
    change();
  });
}
function short(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(Math.max(1, digits - 3)).replace("e+", "e") : String(Number(value.toPrecision(digits)));
}
function labels(values) { // with as many digits as tell them apart
  let digits = 4, texts;
  do texts = values.map(value => short(value, digits)); while (new Set(texts).size < texts.length && digits++ < 15);
  return texts;
}

// ---- curves

const SVG = "http://www.w3.org/2000/svg", WIDE = Math.max(320, Math.min(640, innerWidth - 32)), HIGH = 240, LEFT = 56, RIGHT = 10, TOP = 10, BOTTOM = 24;
const COLOURS = ["#4269d0", "#e08a00", "#e5533d", "#2aa198", "#3ca951", "#a463f2", "#5b9bd5", "#9c6b4e", "#d45fa0", "#7f7f7f"];
function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
function smoothed(values, share) { // an exponential moving average that starts without a bias
  let sum = 0, weight = 0;
  return values.map(value => {
    if (value === null) return null;
    sum = share * sum + (1 - share) * value;
    weight = share * weight + 1 - share;
    return sum / weight;
  });
}
function ticks(low, high, log) {
  if (log) {
    const found = [], from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high)), many = to - from > 3;
    for (let power = from; power <= to; power += Math.max(1, Math.ceil((to - from) / 6)))
      for (const factor of many ? [1] : to - from > 1 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7]) found.push(factor * 10 ** power);
    return found.filter(value => value >= low && value <= high);
  }
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(value => value >= raw) || raw;
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9) && found.length < 12; n++) found.push(n * step);
  return found;
}
function range(lines, log) {
  const values = lines.flatMap(line => line.ys).filter(value => value !== null && (!log || value > 0)).sort((a, b) => a - b);
  if (!values.length) return null;
  let low = values[0], high = values[log || values.length < 200 ? values.length - 1 : Math.floor(0.995 * (values.length - 1))];
  if (!log && low > 0 && low < 0.5 * high) low = 0;
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) / 2 || 1), high + (Math.abs(high) / 2 || 1)];
  return [low, high];
}
function draw(figure) {
  const log = document.getElementById("log")?.checked, share = Number(document.getElementById("smooth")?.value || 0);
  const svg = figure.querySelector("svg"), shown = figure.lines.filter(line => !line.hidden);
  svg.replaceChildren();
  const lines = shown.map(line => ({ ...line, raw: line.ys, ys: share ? smoothed(line.ys, share) : line.ys }));
  const span = range(lines, log), last = Math.max(1, ...figure.lines.flatMap(line => line.xs));
  if (!span) {
    add(svg, "text", { x: WIDE / 2, y: HIGH / 2, "text-anchor": "middle" }, log ? "no values above 0" : "no values");
    figure.place = null;
    return;
  }
  const scale = log ? Math.log : value => value, [low, high] = span.map(scale);
  const marks = ticks(...span, log), texts = labels(marks), left = Math.max(LEFT, 10 + 7 * Math.max(...texts.map(text => text.length)));
  const across = x => left + (WIDE - left - RIGHT) * x / last;
  const down = y => HIGH - BOTTOM - (HIGH - BOTTOM - TOP) * Math.min(Math.max((scale(y) - low) / (high - low), 0), 1);
  marks.forEach((tick, n) => {
    add(svg, "line", { class: "grid", x1: left, x2: WIDE - RIGHT, y1: down(tick), y2: down(tick) });
    add(svg, "text", { x: left - 6, y: down(tick) + 4, "text-anchor": "end" }, texts[n]);
  });
  for (const tick of ticks(0, last, false))
    add(svg, "text", { x: across(tick), y: HIGH - 6, "text-anchor": tick > 0.95 * last ? "end" : "middle" }, tick);
  add(svg, "line", { class: "edge", x1: left, x2: WIDE - RIGHT, y1: HIGH - BOTTOM, y2: HIGH - BOTTOM });
  const path = (xs, ys) => xs.map((x, n) => ys[n] === null || (log && ys[n] <= 0) ? null : across(x).toFixed(1) + "," + down(ys[n]).toFixed(1))
    .filter(point => point !== null).join(" ");
  for (const line of lines) {
    const look = { fill: "none", stroke: line.colour, "stroke-linejoin": "round" };
    if (share) add(svg, "polyline", { ...look, "stroke-opacity": 0.25, points: path(line.xs, line.raw) });
    add(svg, "polyline", { ...look, "stroke-width": 1.8, points: path(line.xs, line.ys) });
    if (line.xs.length === 1) add(svg, "circle", { fill: line.colour, r: 3.5, cx: across(line.xs[0]), cy: down(line.ys[0] ?? 0) });
  }
  figure.place = { left, across, last };
}
function key(figure, at) {
  for (const line of figure.lines) {
    let n = line.xs.length - 1;
    if (at !== undefined) line.xs.forEach((x, m) => { if (Math.abs(x - at) < Math.abs(line.xs[n] - at)) n = m; });
    const value = line.ys[n];
    line.number.textContent = " " + (value === null || value === undefined ? "not finite" : short(value)) + (at === undefined ? "" : " at " + line.xs[n]);
  }
}
for (const figure of document.querySelectorAll(".chart")) {
  figure.querySelector("noscript")?.remove();
  const holder = figure.querySelector(".keys");
  figure.lines = JSON.parse(figure.querySelector("script").textContent).map(([name, xs, ys], n) => {
    const button = document.createElement("button"), swatch = document.createElement("span"), number = document.createElement("span");
    const line = { name, xs, ys, number, colour: COLOURS[n % COLOURS.length], hidden: false };
    swatch.className = "swatch";
    swatch.style.background = line.colour;
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.title = "Show or hide this curve";
    button.append(swatch, name, number);
    button.addEventListener("click", () => {
      line.hidden = !line.hidden;
      touched = Date.now();
      button.setAttribute("aria-pressed", String(!line.hidden));
      draw(figure);
    });
    holder.append(button);
    return line;
  });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", figure.querySelector("figcaption").textContent);
  figure.querySelector("figcaption").after(svg);
  draw(figure);
  key(figure);
  svg.addEventListener("pointermove", event => {
    if (!figure.place) return;
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * WIDE / box.width;
    const at = Math.min(Math.max((x - figure.place.left) / (WIDE - figure.place.left - RIGHT), 0), 1) * figure.place.last;
    svg.querySelector(".at")?.remove();
    add(svg, "line", { class: "at", x1: figure.place.across(at), x2: figure.place.across(at), y1: TOP, y2: HIGH - BOTTOM });
    key(figure, at);
  });
  svg.addEventListener("pointerleave", () => { svg.querySelector(".at")?.remove(); key(figure); });
}
const redraw = () => {
  const output = document.getElementById("smoothness");
  if (output) output.textContent = document.getElementById("smooth").value;
  document.querySelectorAll(".chart").forEach(draw);
};
for (const name of ["smooth", "log"]) {
  const element = document.getElementById(name);
  if (element) control(element, name, redraw);
}
redraw();

// ---- pictures over time, and two of them with a divider

for (const viewer of document.querySelectorAll(".viewer")) {
  const time = viewer.querySelector(".time"), stage = viewer.querySelector(".stage"), canvas = stage?.querySelector("canvas");
  const sheets = [...viewer.querySelectorAll(".sheet")].map(figure => [...figure.querySelectorAll("img")]);
  const steps = [...new Set(sheets.flat().map(image => Number(image.dataset.step)))].sort((a, b) => a - b);
  const sides = ["left", "right"].map(side => viewer.querySelector("." + side)), divider = stage?.querySelector("input");
  const shown = (images, step) => images.filter(image => Number(image.dataset.step) <= step).pop() || images[0];
  const now = () => steps[Math.min(Number(time.value), steps.length - 1)];
  function cut(side) { // the picture of one side of the divider: [image, left, top, width, height] in its pixels
    const [sheet, place, when] = JSON.parse(sides[side].value);
    const image = when === "first" ? sheets[sheet][0] : shown(sheets[sheet], now());
    return [image, ...(place || [0, 0, image.naturalWidth, image.naturalHeight])];
  }
  function compare() {
    if (!stage) return;
    const [left, right] = [cut(0), cut(1)];
    if (!left[0].naturalWidth || !right[0].naturalWidth) return;
    const whole = [Math.max(left[3], right[3]), Math.max(left[4], right[4])];
    const [width, height] = whole.map(side => Math.round(side * Math.max(1, Math.floor(400 / whole[0]))));
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext("2d"), at = Math.round(width * divider.value / 100);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(...right, 0, 0, width, height);
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, at, height);
    pen.clip();
    pen.drawImage(...left, 0, 0, width, height);
    pen.restore();
    const thick = Math.max(2, Math.round(width / 200));
    pen.fillStyle = "#000";
    pen.fillRect(at - thick, 0, 2 * thick, height);
    pen.fillStyle = "#fff";
    pen.fillRect(at - thick / 2, 0, thick, height);
    const names = sides.map(side => side.selectedOptions[0].textContent);
    divider.setAttribute("aria-valuetext", `${Math.round(divider.value)} % of ${names[0]}, the rest ${names[1]}`);
  }
  function show() {
    for (const images of sheets) {
      const chosen = shown(images, now());
      for (const image of images) image.hidden = image !== chosen;
      const label = chosen.closest("figure").querySelector(".step");
      if (label) label.textContent = "step " + chosen.dataset.step;
    }
    viewer.querySelector("output").textContent = now();
    time.setAttribute("aria-valuetext", "step " + now());
    compare();
  }
  time.max = steps.length - 1;
  time.value = steps.length - 1;
  control(time, "time", show);
  if (stage) {
    sides.forEach((side, n) => control(side, "side" + n, compare));
    control(divider, "divider", compare);
    Promise.all(sheets.flat().map(image => image.decode().catch(() => null))).then(compare);
    viewer.querySelector(".comparison").hidden = false;
  }
  viewer.querySelector(".controls").hidden = steps.length < 2;
  show();
}

// ---- a page of a run that is still training

document.querySelectorAll(".needs-script").forEach(element => { element.hidden = false; });
if (document.body.dataset.live) setInterval(() => { if (Date.now() - touched > 30000) location.reload(); }, 10000);
