// Starts the page: the cards of the models, and the panel of the chosen one.
import * as api from "./api.js";
import { make, say, unique } from "./dom.js";
import { translating } from "./files.js";
import { latent } from "./latent.js";
import { painting } from "./paint.js";
import { sampling } from "./sample.js";

const cards = document.getElementById("cards"), panel = document.getElementById("panel");
let chosen = "";
let leave = () => {};

async function start() {
  try {
    const models = await api.models();
    const asked = !document.getElementById("login").hidden;
    document.getElementById("login").hidden = true;
    cards.replaceChildren(...models.map(card));
    say(models.length === 1 ? "1 model" : `${models.length} models`);
    const first = models.find((one) => one.name === sessionStorage.getItem("i2i-model")) ||
      models.find((one) => one.name === "upscale-x2") || models[0];
    for (const name of ["models", "work"]) document.getElementById(name).hidden = false;
    const input = cards.querySelectorAll("input")[models.indexOf(first)];
    input.checked = true;
    const label = input.parentElement; // only the list is scrolled to it, not the page
    cards.scrollTo(label.offsetLeft - cards.offsetLeft - 16, label.offsetTop - cards.offsetTop - 16);
    if (asked) input.focus(); // the button that had the focus is gone
    await choose(first);
  } catch (error) {
    if (error.status === 401) {
      document.getElementById("login").hidden = false;
      for (const name of ["models", "work"]) document.getElementById(name).hidden = true;
      document.getElementById("token").select();
      say(api.known() ? "This is not the token of the server." : "A token is needed.", api.known());
      api.remember("");
    } else {
      say(error.message, true);
    }
  }
}

function card(one) {
  const way = one.takes ? `${one.takes} → ${one.makes}` : `new ${one.makes}s`;
  const facts = [way, one.scale > 1 ? `×${one.scale}` : "", `${(one.bytes / 1e6).toFixed(1)} MB`, one.licence];
  const about = unique("about"), told = one.does !== one.name.replaceAll("-", " ");
  return make("label", { class: "card" },
    make("input", { type: "radio", name: "model", value: one.name, "aria-label": one.name, "aria-describedby": about,
      onchange: () => { say(""); choose(one); } }),
    make("span", { class: "name" }, one.name),
    make("span", { id: about },
      ...(told ? [make("span", { class: "does" }, one.does)] : []),
      make("span", { class: "facts" }, ...facts.filter(Boolean).map((text) => make("span", {}, text)))),
    make("span", { class: "quality" }, one.quality));
}

async function choose(one) {
  chosen = one.name;
  sessionStorage.setItem("i2i-model", one.name);
  leave();
  leave = () => {};
  panel.replaceChildren();
  document.getElementById("work-title").textContent = one.name;
  document.getElementById("about").textContent = "Loading the model…";
  try {
    const model = await api.model(one.name);
    if (chosen !== one.name) return;
    const parts = [];
    if (model.labels) parts.push(painting(model));
    else if (model.takes === "caption") parts.push(sampling(model));
    else if (["image", "clip"].includes(model.takes)) parts.push(translating(model));
    if (model.sample && model.takes !== "caption") parts.push(sampling(model));
    if (model.latent && model.makes === "image") parts.push(latent(model));
    panel.replaceChildren(...parts.map((part) => part.element));
    leave = () => parts.forEach((part) => part.leave?.());
    document.getElementById("about").textContent = parts.length ? "" : "This model can only be used by programs.";
  } catch (error) {
    document.getElementById("about").textContent = error.message;
  }
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  api.remember(document.getElementById("token").value);
  start();
});
start();
