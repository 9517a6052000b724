// New pictures: seed, count, and the class or text of the model.
import * as api from "./api.js";
import { conditions, field, link, make, say, seed, sharp, unique } from "./dom.js";

export function sampling(model) {
  const list = model.sample || model.translate;
  const form = conditions(model, list, ["seed"]), things = model.makes === "clip" ? "clips" : "pictures";
  const count = make("input", { type: "number", min: 1, max: 64, step: 1, value: model.makes === "clip" ? 4 : 8, required: true });
  const number = make("input", { type: "number", min: 0, step: 1, value: 0, required: true });
  const another = make("button", { type: "button", onclick: () => { number.value = seed(); } }, "Another seed");
  const go = make("button", { class: "main" }, `Make ${things}`);
  const stop = make("button", { type: "button", hidden: true }, "Cancel");
  const made = make("ul", { class: "grid", "aria-label": "Results" });
  let cancel = null;

  form.element.append(field("how many", count), field("seed", number), another);
  const title = unique("sample");
  const element = make("form", { class: "panel-sample", "aria-labelledby": title, onsubmit: submit },
    make("h3", { id: title }, model.takes === "caption" ? "Pictures of a text" : `New ${things}`),
    form.element, make("div", { class: "actions" }, go, stop), made);
  const text = element.querySelector("textarea");
  if (text) text.required = true;

  async function submit(event) {
    event.preventDefault();
    cancel = new AbortController();
    go.disabled = true;
    stop.hidden = false;
    stop.onclick = () => cancel.abort();
    const body = { model: model.name, n: Number(count.value), seed: Number(number.value), conditions: form.values() };
    try {
      const { blobs } = await api.run("/v1/sample", body, { signal: cancel.signal, tell: say });
      made.replaceChildren(...blobs.map((blob, index) => make("li", {},
        sharp(make("img", { src: URL.createObjectURL(blob), alt: `Result ${index + 1}` })),
        link(blob, `${model.name}-${number.value}-${index + 1}`, "Download", ""))));
      say(`${blobs.length} made`);
    } catch (error) {
      say(error.name === "AbortError" ? "Cancelled" : error.message, error.name !== "AbortError");
    }
    go.disabled = false;
    stop.hidden = true;
  }

  return { element, leave: () => cancel?.abort() };
}
