// Painting label maps: brush, fill, palette, undo, a style picture; with a pointer or with the keyboard.
import * as api from "./api.js";
import { conditions, field, link, make, say } from "./dom.js";
import { board } from "./board.js";

export function painting(model) {
  const side = Math.max(model.multiple, Math.ceil((model.size || 256) / model.multiple) * model.multiple);
  const paper = board(model.labels, side);
  const form = conditions(model, model.translate);
  const made = make("img", { class: "made", alt: "", hidden: true });
  const frame = make("div", { class: "frame" }, make("p", { class: "hint" }, "The picture appears here."), made);
  const live = make("input", { type: "checkbox", checked: true });
  const go = make("button", { type: "button", class: "main", onclick: () => draw() }, "Make the picture");
  const saved = make("span", { class: "actions" });
  let cancel = null, wanted = false;

  const tool = make("select", {}, make("option", { value: "brush" }, "brush"), make("option", { value: "fill" }, "fill"));
  const width = make("input", { type: "range", min: 1, max: Math.ceil(side / 3), value: Math.ceil(side / 10) });
  const undo = make("button", { type: "button", onclick: () => paper.undo() }, "Undo");
  const clear = make("button", { type: "button", onclick: () => paper.clear() }, "Clear");
  const open = make("input", { type: "file", accept: "image/png,image/bmp,image/tiff", onchange: () => load() });
  tool.addEventListener("change", () => { paper.tool = tool.value; });
  width.addEventListener("input", () => { paper.width = Number(width.value); });
  paper.width = Number(width.value);
  paper.onchange = () => {
    undo.disabled = !paper.steps;
    if (live.checked) draw();
  };
  undo.disabled = true;
  form.onchange(() => { if (live.checked) draw(); });

  const palette = make("fieldset", { class: "palette" }, make("legend", {}, "Class"), ...model.labels.map((label, at) => {
    const input = make("input", { type: "radio", name: "class", value: label.index, checked: at === 0, onchange: () => { paper.label = label.index; } });
    return make("label", { class: "swatch" }, input, colour(label.colour), label.name);
  }));

  async function load() {
    try {
      await paper.load(open.files[0]);
    } catch (error) {
      say(error.message, true);
    }
  }

  // One job at a time; what was painted meanwhile is drawn next.
  async function draw() {
    if (cancel) {
      wanted = true;
      return;
    }
    cancel = new AbortController();
    const { text, ...values } = form.values();
    const body = new FormData();
    body.set("model", model.name);
    body.set("conditions", JSON.stringify(values));
    for (const [name, file] of form.files()) body.set(name, file);
    try {
      const map = await paper.png();
      body.set("picture", map, "labels.png");
      const { blobs } = await api.run("/v1/translate", body, { signal: cancel.signal, tell: say });
      URL.revokeObjectURL(made.src);
      made.src = URL.createObjectURL(blobs[0]);
      made.alt = "The picture of the label map";
      made.hidden = false;
      frame.firstChild.hidden = true;
      saved.replaceChildren(link(blobs[0], model.name, "Download the picture"), link(map, `${model.name}-labels`, "Download the label map"));
      say("Done");
    } catch (error) {
      if (error.name !== "AbortError") say(error.message, true);
    }
    cancel = null;
    if (wanted) {
      wanted = false;
      draw();
    }
  }

  const check = make("label", { class: "check" }, live, "Draw after each stroke");
  const element = make("div", {}, palette,
    make("div", { class: "fields" }, field("tool", tool), field("brush width", width), undo, clear, check, field("open a label map", open)),
    make("p", { class: "hint" }, "By keyboard: arrows move, Space paints, Ctrl+Z undoes; a number chooses a class."),
    make("div", { class: "painter" }, paper.element, frame), form.element, make("div", { class: "actions" }, go, saved));
  return { element, leave: () => cancel?.abort() };
}

function colour(value) {
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  square.setAttribute("width", "100%");
  square.setAttribute("height", "100%");
  square.setAttribute("fill", value);
  image.setAttribute("aria-hidden", "true");
  image.append(square);
  return image;
}
