// Before and after: one picture over the other, with a divider that is dragged or moved with the arrow keys, and zoom.
import { link, make, sharp } from "./dom.js";

export function viewer() {
  const before = make("img", { class: "before", alt: "" }), after = sharp(make("img", { alt: "" }));
  const slider = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Divider between before and after" });
  const stage = make("div", { class: "stage" }, after, before, slider, make("span", { class: "line" }));
  const scroll = make("div", { class: "scroll" }, stage);
  const caption = make("figcaption"), bar = make("span", { class: "actions" });
  const zoomed = make("output", { "aria-live": "polite" });
  let zoom = 0;  // pixels of the screen for one of the result; 0 fits the page

  const button = (text, title, act) => make("button", { type: "button", "aria-label": title, title, onclick: act }, text);
  const element = make("figure", { class: "viewer", hidden: true },
    make("div", { class: "bar" }, caption, button("−", "Zoom out", () => set(scale() / 2)), zoomed,
      button("+", "Zoom in", () => set(scale() * 2)), button("1:1", "One pixel for one", () => set(1)),
      button("Fit", "Fit the page", () => set(0)), bar),
    scroll);

  slider.addEventListener("input", move);
  after.addEventListener("load", () => set(zoom));
  window.addEventListener("resize", () => { if (element.isConnected && !element.hidden) set(zoom); });

  function move() {
    stage.style.setProperty("--divider", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % of the picture before is shown`);
  }

  const scale = () => stage.clientWidth / (after.naturalWidth || 1);

  function set(value) {
    zoom = value && Math.min(Math.max(value, 1 / 16), 16);
    if (zoom) {
      stage.style.width = `${after.naturalWidth * zoom}px`;
    } else {
      const high = 0.72 * window.innerHeight, wide = scroll.clientWidth;
      const least = Math.min(1, wide / after.naturalWidth, high / after.naturalHeight);
      const small = Math.max(1, Math.floor(Math.min(480 / after.naturalWidth, wide / after.naturalWidth)));
      stage.style.width = `${after.naturalWidth * (least < 1 ? least : small)}px`;
    }
    zoomed.textContent = `${Math.round(100 * scale())} %`;
  }

  move();
  return {
    element,
    item: null,
    open(item, source, blob, name, model) {
      const same = model.takes === model.makes && model.takes !== "clip";
      this.item = item;
      for (const part of [before, slider, stage.lastChild]) part.hidden = !same;
      before.src = source;
      before.alt = `${name}, before`;
      URL.revokeObjectURL(after.src);
      after.src = URL.createObjectURL(blob);
      after.alt = `${name}, after ${model.name}`;
      caption.textContent = same ? `${name}: before on the left, after on the right` : name;
      bar.replaceChildren(link(blob, `${name.replace(/\.\w+$/, "")}-${model.name}`));
      element.hidden = false;
    },
    close() {
      this.item = null;
      element.hidden = true;
    },
  };
}
