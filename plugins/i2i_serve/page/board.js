// The canvas of a label map: it holds indices of classes, and shows them in the colours of the palette.
import { make } from "./dom.js";
import { greyPng } from "./png.js";

const KEPT = 50;  // steps that can be undone

export function board(labels, side) {
  const canvas = make("canvas", { width: side, height: side, tabIndex: 0, role: "application",
    "aria-label": "Label map; arrow keys move, Space paints" });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const colours = new Map(labels.map((one) => [one.index, parse(one.colour)]));
  let values = new Uint8Array(side * side).fill(labels[0].index);
  const past = [];
  let last = null;  // of the stroke
  const cursor = { x: side >> 1, y: side >> 1, shown: false };

  const self = {
    element: canvas, tool: "brush", width: 8, label: labels[0].index, onchange() {},
    get steps() { return past.length; },
    undo() {
      if (!past.length) return;
      values = past.pop();
      changed();
    },
    clear() {
      keep();
      values.fill(self.label);
      changed();
    },
    png: () => greyPng(values, side, side),
    load,
  };

  function keep() {
    past.push(values.slice());
    if (past.length > KEPT) past.shift();
  }

  function changed() {
    show();
    self.onchange();
  }

  function show() {
    const picture = pen.createImageData(side, side);
    const cells = new Uint32Array(picture.data.buffer);
    for (let n = 0; n < cells.length; n += 1) cells[n] = colours.get(values[n]) ?? 0xff000000;
    pen.putImageData(picture, 0, 0);
    if (cursor.shown) {
      pen.strokeStyle = "#fff";
      pen.lineWidth = Math.max(1, side / 128);
      pen.strokeRect(cursor.x - self.width / 2, cursor.y - self.width / 2, self.width, self.width);
    }
  }

  function dab(x, y) {
    const radius = self.width / 2;
    for (let v = Math.max(0, Math.ceil(y - radius)); v <= Math.min(side - 1, y + radius); v += 1) {
      for (let u = Math.max(0, Math.ceil(x - radius)); u <= Math.min(side - 1, x + radius); u += 1) {
        if ((u - x) ** 2 + (v - y) ** 2 <= radius ** 2 + 0.25) values[v * side + u] = self.label;
      }
    }
  }

  function line(from, to) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(1, self.width / 4)));
    for (let n = 0; n <= steps; n += 1) dab(from.x + ((to.x - from.x) * n) / steps, from.y + ((to.y - from.y) * n) / steps);
  }

  function fill(x, y) {
    const old = values[y * side + x];
    if (old === self.label) return;
    const waiting = [y * side + x];
    while (waiting.length) {
      const at = waiting.pop();
      if (values[at] !== old) continue;
      values[at] = self.label;
      const column = at % side;
      if (column > 0) waiting.push(at - 1);
      if (column < side - 1) waiting.push(at + 1);
      if (at >= side) waiting.push(at - side);
      if (at < side * (side - 1)) waiting.push(at + side);
    }
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (value, start, size) => Math.min(side - 1, Math.max(0, Math.floor(((value - start) / size) * side)));
    return { x: at(event.clientX, box.left, box.width), y: at(event.clientY, box.top, box.height) };
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    cursor.shown = false;
    keep();
    const point = place(event);
    if (self.tool === "fill") {
      fill(point.x, point.y);
      changed();
    } else {
      last = point;
      dab(point.x, point.y);
      show();
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const point = place(event);
    line(last, point);
    last = point;
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (last) changed();
      last = null;
    });
  }

  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(self.width / 2));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const chosen = document.querySelectorAll(".palette input")[Number(event.key) - 1];
    if (moves[event.key]) {
      cursor.x = Math.min(side - 1, Math.max(0, cursor.x + moves[event.key][0]));
      cursor.y = Math.min(side - 1, Math.max(0, cursor.y + moves[event.key][1]));
      cursor.shown = true;
      show();
    } else if (event.key === " ") {
      keep();
      if (self.tool === "fill") fill(cursor.x, cursor.y);
      else dab(cursor.x, cursor.y);
      changed();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      self.undo();
    } else if (chosen && /^[1-9]$/.test(event.key)) {
      chosen.click();
    } else {
      return;
    }
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => { cursor.shown = false; show(); });

  // A grey file holds indices, a coloured one the colours of the palette; both are resized without blending.
  async function load(file) {
    const picture = await createImageBitmap(file, { resizeWidth: side, resizeHeight: side, resizeQuality: "pixelated", colorSpaceConversion: "none" });
    const copy = new OffscreenCanvas(side, side).getContext("2d");
    copy.drawImage(picture, 0, 0);
    const pixels = copy.getImageData(0, 0, side, side).data;
    const grey = pixels.every((value, n) => n % 4 === 3 || value === pixels[n - (n % 4)]);
    keep();
    for (let n = 0; n < values.length; n += 1) {
      values[n] = grey ? pixels[4 * n] : nearest(pixels.subarray(4 * n, 4 * n + 3));
    }
    changed();
  }

  function nearest(pixel) {
    let best = 0, found = labels[0].index;
    labels.forEach((one, at) => {
      const value = parse(one.colour);
      const distance = [0, 8, 16].reduce((sum, shift, n) => sum + (((value >> shift) & 255) - pixel[n]) ** 2, 0);
      if (!at || distance < best) [best, found] = [distance, one.index];
    });
    return found;
  }

  show();
  return self;
}

// "#rrggbb" as a little-endian pixel, with alpha 255
function parse(text) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}
