// The HTTP API as functions. Every call is a job: it waits its turn, and can be cancelled.
const key = "i2i-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(key, given);
  history.replaceState(null, "", location.pathname);  // out of the address bar
}

export class Failure extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export function remember(token) {
  sessionStorage.setItem(key, token);
}

export const known = () => Boolean(sessionStorage.getItem(key));

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(key);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const failure = new Failure(answer.status, said.error || `The server answered ${answer.status}.`);
  failure.retry = Number(answer.headers.get("Retry-After"));
  throw failure;
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

// Ask again while the server is busy or its worker is being started.
async function patiently(path, options, signal, tell) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(path, { ...options, signal });
    } catch (error) {
      if (!(error instanceof Failure) || ![429, 503].includes(error.status) || tries >= 20) throw error;
      tell?.("The server is busy, trying again…");
      await pause(Math.min(error.retry || 2, 15), signal);
    }
  }
}

export const models = async () => (await ask("/v1/models")).json();
export const model = async (name) => (await patiently(`/v1/models/${encodeURIComponent(name)}`)).json();

// Run a job and return { data, blobs }. `tell(text)` hears how far it is.
export async function run(path, body, { signal, tell } = {}) {
  const form = body instanceof FormData;
  if (form) body.set("wait", "false");
  const options = form ? { method: "POST", body } : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, wait: false }),
  };
  let job = await (await patiently(path, options, signal, tell)).json();
  const address = `/v1/jobs/${job.id}`;
  try {
    while (job.state === "queued" || job.state === "running") {
      tell?.(job.state === "running" ? "Working…" : `Waiting, ${job.before} before it`);
      job = await (await ask(`${address}?wait=${job.state === "running" ? 20 : 1}`, { signal })).json();
    }
    if (job.state !== "done") throw new Failure(422, job.error);
    const blobs = [];
    for (const result of job.results) blobs.push(await (await ask(result.url, { signal })).blob());
    return { data: job.data, blobs };
  } finally {
    ask(address, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}
