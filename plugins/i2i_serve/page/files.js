// Pictures that are dropped, pasted or chosen: a list that is translated one after the other, and a viewer.
import * as api from "./api.js";
import { conditions, link, make, say, unique } from "./dom.js";
import { viewer } from "./viewer.js";

const AT_ONCE = 2;  // jobs of this page in the server's queue
let latest = [];  // the files that were added last, to translate them with another model too

// Nothing instead of a picture that the browser cannot show, such as TIFF.
const preview = (source) => make("img", { src: source, alt: "", onerror: (event) => event.target.replaceWith(make("span")) });

export function translating(model) {
  const clips = model.takes === "clip";
  const accept = clips ? "image/gif,image/webp,image/png,video/mp4,video/webm" : "image/*,.tif,.tiff,.ppm";
  const form = conditions(model, model.translate), list = make("ul", { class: "files", "aria-label": "Files" });
  const format = make("select", { name: "format" }, make("option", { value: "" }, "automatic"), ...["png", "jpeg", "webp", "gif"].map((one) => make("option", {}, one)));
  const show = viewer();
  const items = [];
  let running = 0;

  const id = unique("files");
  const input = make("input", { type: "file", multiple: true, accept, id, onchange: () => { add(input.files); input.value = ""; } });
  const zone = make("div", { class: "drop" },
    make("label", { class: "button", for: id }, clips ? "Choose clips" : "Choose pictures"), input,
    make("p", {}, clips ? "or drop them here" : "or drop them here, or paste one"));
  const same = make("button", { type: "button", hidden: !latest.length, onclick: () => add([...latest]) },
    `Use the same ${latest.length === 1 ? "file" : `${latest.length} files`}`);
  zone.append(same);
  for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.toggle("over", over); });
  }
  zone.addEventListener("drop", (event) => add(event.dataTransfer.files));
  const stray = (event) => event.preventDefault();  // a picture dropped beside the zone must not replace the page
  const paste = (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); };
  document.addEventListener("paste", paste);
  document.addEventListener("dragover", stray);
  document.addEventListener("drop", stray);

  function add(files) {
    if (!items.length) latest = [];
    latest.push(...files);
    same.hidden = true;
    for (const file of files) items.push(entry(file));
    next();
  }

  function entry(file) {
    const item = { file, state: "waiting", cancel: new AbortController() };
    const source = URL.createObjectURL(file);
    item.note = make("span", { class: "state" }, "Waiting");
    item.bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
    item.tools = make("span", { class: "tools" });
    item.row = make("li", {}, clips && file.type.startsWith("video/") ? make("span") : preview(source),
      make("span", {}, make("span", { class: "name" }, file.name), item.note, item.bar), item.tools);
    item.source = source;
    tools(item);
    list.append(item.row);
    return item;
  }

  function tools(item) {
    const buttons = [];
    if (item.blob) {
      buttons.push(make("button", { type: "button", onclick: () => open(item) }, "Show"));
      buttons.push(link(item.blob, `${item.file.name.replace(/\.\w+$/, "")}-${model.name}`));
    }
    if (item.state === "failed") buttons.push(make("button", { type: "button", onclick: () => again(item) }, "Try again"));
    const title = `Remove ${item.file.name}`;
    buttons.push(make("button", { type: "button", "aria-label": title, title, onclick: () => remove(item) }, "✕"));
    item.tools.replaceChildren(...buttons);
  }

  function again(item) {
    item.state = "waiting";
    item.cancel = new AbortController();
    item.row.classList.remove("bad");
    item.bar.hidden = false;
    item.note.textContent = "Waiting";
    tools(item);
    next();
  }

  function remove(item) {
    item.cancel.abort();
    item.row.remove();
    items.splice(items.indexOf(item), 1);
    URL.revokeObjectURL(item.source);
    if (show.item === item) show.close();
    tally();
  }

  function open(item) {
    for (const one of items) one.row.classList.toggle("chosen", one === item);
    show.open(item, item.source, item.blob, item.file.name, model);
  }

  function next() {
    tally();
    const item = items.find((one) => one.state === "waiting");
    if (!item || running >= AT_ONCE) return;
    translate(item);
    next();
  }

  async function translate(item) {
    const body = new FormData();
    const { text, ...values } = form.values();
    body.set("model", model.name);
    body.set("conditions", JSON.stringify(values));
    if (format.value) body.set("format", format.value);  // by default png, and gif for animations
    for (const [name, file] of form.files()) body.set(name, file);
    body.set("picture", item.file);
    item.state = "running";
    item.bar.removeAttribute("value");
    running += 1;
    try {
      const tell = (state) => { item.note.textContent = state; };
      const { blobs } = await api.run("/v1/translate", body, { signal: item.cancel.signal, tell });
      item.blob = blobs[0];
      item.state = "done";
      item.note.textContent = `Done, ${Math.ceil(item.blob.size / 1000)} kB`;
      if (!show.item) open(item);
    } catch (error) {
      item.state = error.name === "AbortError" ? "cancelled" : "failed";
      item.note.textContent = error.message;
      item.row.classList.add("bad");
    }
    running -= 1;
    item.bar.hidden = true;
    tools(item);
    next();
  }

  function tally() {
    const done = items.filter((one) => one.state === "done").length, bad = items.filter((one) => one.state === "failed").length;
    if (items.length) say(`${done} of ${items.length} done${bad ? `, ${bad} failed` : ""}`);
  }

  form.element.append(make("div", { class: "field" }, make("label", { for: format.id = unique("format") }, "Format"), format));
  if (clips) form.element.lastChild.hidden = true;
  return {
    element: make("div", {}, form.element, zone, list, show.element),
    leave() {
      document.removeEventListener("paste", paste);
      document.removeEventListener("dragover", stray);
      document.removeEventListener("drop", stray);
      for (const item of items.splice(0)) item.cancel.abort();
    },
  };
}
