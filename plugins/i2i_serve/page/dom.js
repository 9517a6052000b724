// Small functions that make elements. Texts are set as texts, never as markup: names of files and models may be anything.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name.includes("-") || ["for", "role"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

let count = 0;
export const unique = (name) => `${name}-${count += 1}`;

export function say(text, bad = false) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

export function field(title, control, wide = false) {
  control.id ||= unique("field");
  const label = make("label", { for: control.id }, title[0].toUpperCase() + title.slice(1));
  return make("div", { class: wide ? "field wide" : "field" }, label, control);
}

export const suffix = (blob) => ({ "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif" })[blob.type] || "png";

export function link(blob, name, text = "Download", style = "button") {
  return make("a", { href: URL.createObjectURL(blob), download: `${name}.${suffix(blob)}`, class: style }, text);
}

// Pictures of few pixels are shown as squares rather than blurred.
export function sharp(image) {
  const decide = () => image.classList.toggle("pixels", image.naturalWidth < 200);
  image.addEventListener("load", decide);
  return image;
}

export const seed = () => Math.floor(Math.random() * 1e6);

// What AtoB and BtoA mean, if a card says so: "horse to zebra, drawn".
function directions(does) {
  const [, a, b] = does.match(/^(\w+) to (\w+)/) || [];
  return a ? { AtoB: `AtoB: ${a} to ${b}`, BtoA: `BtoA: ${b} to ${a}` } : {};
}

// The controls of a list of the model's conditions; `values()` returns those that differ from nothing, `files()` the uploads.
export function conditions(model, list, skip = []) {
  const controls = [], meant = directions(model.does);
  for (const one of list) {
    if (skip.includes(one.name) || one.name === "instance" || one.name === "weights") continue;
    let control;
    if (one.kind === "choice" || one.kind === "class") {
      const any = one.kind === "class" ? [make("option", { value: "" }, "any")] : [];
      control = make("select", {}, ...any, ...one.choices.map((value) => make("option", { value }, meant[value] ?? String(value))));
      if (one.default !== null) control.value = one.default;
    } else if (one.kind === "seed") {
      control = make("input", { type: "number", min: 0, step: 1, value: one.default ?? 0 });
    } else if (one.kind === "image") {
      control = make("input", { type: "file", accept: "image/*" });
    } else if (one.kind === "caption") {
      control = make("textarea", { placeholder: "a red circle above a blue square", maxLength: 1000 });
    } else {
      control = make("input", { type: one.kind === "number" ? "number" : "text", step: "any", value: one.default ?? "" });
    }
    control.name = one.name;
    controls.push({ ...one, control });
  }
  return {
    element: make("div", { class: "fields" }, ...controls.map((one) =>
      field(one.kind === "class" ? "class" : one.name, one.control, one.kind === "caption"))),
    values() {
      const given = controls.filter((one) => one.kind !== "image" && one.control.value !== "");
      return Object.fromEntries(given.map((one) => [one.name,
        one.kind === "number" || one.kind === "seed" ? Number(one.control.value) : one.control.value]));
    },
    files() {
      const given = controls.filter((one) => one.kind === "image" && one.control.files[0]);
      return given.map((one) => [one.name, one.control.files[0]]);
    },
    onchange(act) {
      for (const one of controls) one.control.addEventListener("change", act);
    },
  };
}
