// The latent space: a picture is drawn or encoded, its code is changed with sliders, and decoded again.
import * as api from "./api.js";
import { conditions, field, make, say, seed, sharp, link, unique } from "./dom.js";

const FIRST = 12;  // sliders that are shown at once

export function latent(model) {
  const { size, encode, directions: learns } = model.latent;
  const form = conditions(model, model.latent.decode);
  const made = sharp(make("img", { class: "made", alt: "The picture of the code", hidden: true }));
  const saved = make("div", { class: "actions" });
  const sliders = make("div", { class: "sliders" }), attributes = make("div", { class: "sliders" });
  const number = make("input", { type: "number", min: 0, step: 1, value: 0 });
  let code = new Array(size).fill(0), shift = new Map(), shown = 0, busy = false, wanted = false, cancel = new AbortController();

  const more = make("button", { type: "button", onclick: () => add(24) }, "More sliders");
  const learn = make("button", { type: "button", onclick: directions }, "Find attribute directions");
  const picture = make("input", { type: "file", accept: "image/*", onchange: () => encoded(picture.files[0]) });

  const start = [field("seed", number), make("button", { type: "button", onclick: drawn }, "Draw a code"),
    make("button", { type: "button", onclick: () => { number.value = seed(); drawn(); } }, "Random")];
  if (encode) start.push(field("or encode a picture", picture));

  function slider(title, least, most, value, act) {
    const output = make("span", { class: "value", "aria-hidden": "true" }, value.toFixed(1)); // the slider says it
    const input = make("input", { type: "range", min: least, max: most, step: 0.1, value, "aria-label": title });
    input.addEventListener("input", () => {
      output.textContent = Number(input.value).toFixed(1);
      act(Number(input.value));
      decode();
    });
    return make("div", { class: "slider" }, make("span", {}, title), input, output);
  }

  function add(count) {
    const last = Math.min(size, shown + count);
    for (let at = shown; at < last; at += 1) {
      const far = Math.max(4, Math.ceil(Math.abs(code[at])));
      sliders.append(slider(`z${at}`, -far, far, code[at], (value) => { code[at] = value; }));
    }
    shown = last;
    more.hidden = shown >= size;
  }

  function use(found) {
    code = found;
    const count = Math.max(shown, FIRST);
    sliders.replaceChildren();
    shown = 0;
    add(count);
    decode();
  }

  async function job(path, body) {
    const { data } = await api.run(path, body, { signal: cancel.signal, tell: say });
    return data;
  }

  async function drawn() {
    try {
      use((await job("/v1/latent/draw", { model: model.name, n: 1, seed: Number(number.value) }))[0]);
    } catch (error) { fail(error); }
  }

  async function encoded(file) {
    if (!file) return;
    const body = new FormData();
    body.set("model", model.name);
    body.set("picture", file);
    try {
      use((await job("/v1/latent/encode", body))[0]);
    } catch (error) { fail(error); }
  }

  async function directions() {
    learn.disabled = true;
    say("Learning the directions from training pictures, which can take a minute…");
    try {
      const found = await job("/v1/latent/directions", { model: model.name });
      attributes.replaceChildren(...found.attributes.map((name, at) =>
        slider(name, -3, 3, 0, (value) => { shift.set(at, found.vectors[at].map((one) => one * value)); })));
      learn.hidden = true;
      const without = Object.keys(found.refused);
      say(`${found.attributes.length} directions${without.length ? `; none for ${without.join(", ")}` : ""}`);
    } catch (error) { fail(error); }
    learn.disabled = false;
  }

  // One job at a time; the newest position of the sliders is decoded next.
  async function decode() {
    if (model.latent.decode.some((one) => one.kind === "caption" && !form.values()[one.name])) {
      say("Write a text to see the picture of a code.");
      return;
    }
    if (busy) {
      wanted = true;
      return;
    }
    busy = true;
    const moved = code.map((value, at) => [...shift.values()].reduce((sum, vector) => sum + vector[at], value));
    try {
      const body = { model: model.name, codes: [moved], conditions: form.values() };
      const { blobs } = await api.run("/v1/latent/decode", body, { signal: cancel.signal });
      URL.revokeObjectURL(made.src);
      made.src = URL.createObjectURL(blobs[0]);
      made.hidden = false;
      saved.replaceChildren(link(blobs[0], `${model.name}-code`));
      say("Decoded");
    } catch (error) { fail(error); }
    busy = false;
    if (wanted) {
      wanted = false;
      decode();
    }
  }

  function fail(error) {
    if (error.name !== "AbortError") say(error.message, true);
  }

  form.onchange(decode);
  drawn();
  const title = unique("latent");
  const element = make("section", { "aria-labelledby": title }, make("h3", { id: title }, "Latent space"), make("div", { class: "fields" }, ...start), form.element,
    make("div", { class: "latent" }, make("div", {}, made, saved),
      make("div", {}, sliders, make("div", { class: "actions" }, more, ...(learns ? [learn] : [])), attributes)));
  return { element, leave: () => cancel.abort() };
}
