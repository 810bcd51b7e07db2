// The page itself: asks the service every two seconds while it is seen, and sends predictions.

const PERIOD = 2000, PATIENCE = 8000, DRIFT_PERIODS = 5;
const FEW = 12;
const at = (id) => document.getElementById(id);

// The service's root is where this page is, with or without a slash behind a prefix.
const root = new URL(location.pathname.replace(/\/?$/, "/"), location.origin);
const charts = CHARTS.map((each) => new Chart(each));
const samples = [];
let timer, before, shown, models = [], example = "", columns = [], restored = "";

for (const link of document.querySelectorAll("a")) {
  link.href = new URL(link.getAttribute("href"), root);
}

const ask = (path, options) => fetch(new URL(path, root), { cache: "no-store", ...options });
const read = async (path) => {
  const answer = await ask(path, { signal: AbortSignal.timeout(PATIENCE) });
  return answer.ok ? answer : Promise.reject(new Error(`${path} answered ${answer.status}`));
};

/** What a term means, for those who point at it. */
const MEANINGS = {
  Commit: "The commit of the repository that is running.",
  "Models' checksum": "SHA-256 over all model packages: the same models, the same checksum.",
  Checksum: "SHA-256 over the package of this model.",
  Index: "Population stability index: 0 where both distributions are the same.",
  Limit: "An index above it is a shift that is neither small nor chance.",
  Unseen: "Values that training has not seen: other categories, numbers outside its range.",
  "In flight": "Requests that are being answered now.",
  CPU: "CPU time used per second, of all processes of the service.",
  "Server lag": "How late the server comes to work that waits for it (event loop lag): 99 of 100 "
    + "times it is this or less. More than some 50 ms: it needs more CPU.",
};

/** Fill a list of terms; what is undefined is left out. */
function terms(list, entries) {
  list.replaceChildren(...Object.entries(entries).filter(([, text]) => text !== undefined)
    .map(([name, text]) => element("div", {},
      element("dt", { textContent: name, title: MEANINGS[name] ?? "" }),
      text instanceof Node ? text : element("dd", { textContent: text }))));
}

/* Release and readiness */

const STATES = { ready: "Ready", starting: "Starting", failed: "Failed", lost: "Device lost", draining: "Stopping" };

function showState(state, text) {
  if (at("state").textContent !== text) at("state").textContent = text;
  if (at("state").dataset.state === state) return;
  at("state").dataset.state = state;
  const canvas = element("canvas", { width: 32, height: 32 }), pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(at("state")).color;
  pen.arc(16, 16, 13, 0, 7);
  pen.fill();
  at("icon").href = canvas.toDataURL();
}

function showServer(server) {
  showState(server.state, STATES[server.state] ?? server.state);
  terms(at("release"), {
    Version: server.version,
    Commit: digest(server.revision),
    "Models' checksum": digest(server.model_digest),
  });
}

/** The whole of it can be read and copied; the style shows its beginning. */
function digest(text) {
  return element("dd", {}, element("code", { className: "digest", textContent: text || "–" }));
}

/** Sentences above all else; an unchanged one is left alone, so that it is read out only once. */
function showNotices(notices) {
  const text = JSON.stringify(notices);
  if (at("notices").dataset.text === text) return;
  at("notices").dataset.text = text;
  at("notices").replaceChildren(...notices.map(([kind, lead, rest]) => element(
    "p", { className: `notice ${kind}` }, element("b", { textContent: lead }), ` ${rest}`)));
}

function noticesOf(server, scrape) {
  const notices = [];
  if (server === undefined) {
    notices.push(["bad", "No answer.", "The service cannot be reached; asking again."]);
  } else if (!server.ready) {
    const kind = server.state === "failed" || server.state === "lost" ? "bad" : "warn";
    notices.push([kind, "Not ready:", server.reason]);
  }
  const named = (metric, value) => (scrape?.get(metric) ?? [])
    .filter((sample) => sample.value === value).map((sample) => sample.labels.model);
  for (const model of named("inference_provider_fallback", 1)) {
    notices.push(["warn", "No GPU:",
      `one was asked for, but ${model} computes on the CPU. The log says why.`]);
  }
  for (const model of server?.ready ? named("inference_golden_check", 0) : []) {
    notices.push(["bad", "Wrong answers:", `${model} does not answer as it did in training.`]);
  }
  return notices;
}

/* Live */

function showLive(scrape, sample) {
  samples.push(sample);
  samples.splice(0, samples.length - KEPT);
  const reported = charts.filter((chart) => scrape.has(chart.from));
  for (const chart of reported) chart.draw(samples);
  const figures = reported.map((chart) => chart.figure);
  if (at("charts").children.length !== figures.length) at("charts").replaceChildren(...figures);
  at("rows").replaceChildren(...reported.flatMap((chart) => chart.rows(samples).map(
    ({ name, now, low, high }) => element("tr", {},
      element("th", { scope: "row", textContent: `${chart.title}, ${name}` }),
      ...[now, low, high].map((text) => element("td", { textContent: text }))))));
  showFigures(scrape, sample);
}

function showFigures(scrape, sample) {
  const one = (name, text) => {
    const value = total(scrape, name);
    return known(value) ? text(value) : undefined;
  };
  const born = Math.min(...(scrape.get("process_start_time_seconds") ?? []).map((s) => s.value));
  terms(at("figures"), {
    "Up for": known(born) ? span(Math.max(0, Date.now() / 1000 - born)) : undefined,
    Workers: one("inference_workers", (count) => (count > 1 ? number(count) : undefined)),
    "In flight": one("inference_requests_in_flight", number),
    Connections: one("inference_connections", number),
    CPU: known(sample.cpu) ? `${sample.cpu.toFixed(2)} cores` : undefined,
    Memory: portion(scrape, "inference_memory_bytes", "inference_memory_limit_bytes")
      ?? one("process_resident_memory_bytes", bytes),
    "Server lag": known(sample.lag) ? `${seconds(sample.lag)} p99` : undefined,
    "GPU memory": portion(
      scrape, "inference_device_memory_used_bytes", "inference_device_memory_total_bytes"),
    "GPU busy": one("inference_device_utilization_ratio", (sum) => percent(
      sum / scrape.get("inference_device_utilization_ratio").length)),
  });
}

/** An amount against its limit: text, and a bar. */
function portion(scrape, usedName, limitName) {
  const used = total(scrape, usedName), limit = total(scrape, limitName);
  if (!known(used)) return undefined;
  if (!(limit > 0)) return bytes(used);
  const bar = element("i");
  bar.style.width = percent(Math.min(1, used / limit));
  const text = `${bytes(used)} of ${bytes(limit)}`;
  return element("dd", { className: used > 0.9 * limit ? "bad" : "", title: text },
    text, element("span", { className: "bar" }, bar));
}

/* Model */

const listed = (names) => (names.length > FEW
  ? `${names.slice(0, FEW).join(", ")} … ${names.length} in all` : names.join(", "));

function tensor({ name, datatype, shape, parameters = {} }) {
  const { features, labels, values } = parameters;
  const form = ` ${datatype} [${shape.join(", ").replaceAll("-", "−")}]`;
  const item = element("li", {}, element("code", {}, element("b", { textContent: name }), form));
  if (features) item.append(element("p", { textContent: `Columns: ${listed(features)}` }));
  if (values) item.append(element("p", { textContent: `Values: ${listed(values)}` }));
  if (labels) item.append(element("p", { textContent: `Labels: ${listed(labels)}` }));
  return item;
}

function showModel(model, scrape) {
  const { description, execution_provider: provider, digest: sum } = model.parameters;
  at("meaning").textContent = description;
  const devices = scrape?.get("inference_device_memory_total_bytes") ?? [];
  const device = devices.map((sample) => sample.labels.device).join(", ");
  const names = { cpu: "CPU", cuda: device ? `GPU ${device} (CUDA)` : "GPU (CUDA)" };
  terms(at("identity"), {
    Name: model.name,
    Version: model.versions.join(", "),
    "Computes on": names[provider] ?? provider,
    Platform: model.platform,
    Checksum: digest(sum),
  });
  at("inputs").replaceChildren(...model.inputs.map(tensor));
  at("outputs").replaceChildren(...model.outputs.map(tensor));
  at("free").hidden = ![...model.inputs, ...model.outputs].some(({ shape }) => shape.includes(-1));
}

async function showModels(scrape) {
  const chosen = at("choice").value;
  ({ models } = await (await read("v2/models")).json());
  at("choice").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  if (models.some(({ name }) => name === chosen)) at("choice").value = chosen;
  at("choice-row").hidden = models.length < 2;
  at("no-model").hidden = models.length > 0;
  at("model").hidden = models.length === 0;
  if (models.length) await choose(scrape);
  else at("predict").disabled = true;
}

async function choose(scrape = before?.scrape) {
  const model = models[at("choice").selectedIndex];
  showModel(model, scrape);
  const untouched = at("body").value === restored;
  const chosen = () => at("choice").value === model.name;
  at("predict").disabled = true; // until there is something to send, and it is this model's
  try {
    const sample = await (await read(`v2/models/${encodeURIComponent(model.name)}/example`)).text();
    if (!chosen()) return;
    example = sample;
    columns = columnsOf(model);
    if (untouched) restore();
    at("restore").disabled = false;
  } finally {
    if (chosen()) at("predict").disabled = false;
  }
}

/* Predict */

/** A sample of megabytes, such as an image, is sent as it is without being shown. */
const shownSample = (text) => (text.length > LONGEST_SHOWN ? "" : text);

function restore() {
  const rows = rowsOf(example, columns);
  const text = rows ? requestOf(rows, columns) : example;
  restored = shownSample(text);
  at("body").value = restored;
  at("body").placeholder = example && !restored
    ? `The sample request, ${bytes(example.length)}, is sent as it is.` : "";
  at("json").open = !rows;
  showRequest();
}

/** The fields of the request that is written as JSON, where they can show it. */
function showRequest() {
  const rows = rowsOf(at("body").value, columns) ?? [];
  showFields(at("fields"), rows, columns, readFields);
  at("add").hidden = !rows.length;
  at("no-fields").hidden = rows.length || !columns.length || !at("body").value;
  showCalls();
}

function readFields() {
  const rows = rowsIn(at("fields"));
  at("body").value = requestOf(rows, columns);
  at("add").disabled = rows.length >= MOST_ROWS;
  showCalls();
}

function addRow() {
  const rows = rowsIn(at("fields"));
  showFields(at("fields"), [...rows, rows.at(-1)], columns, readFields);
  at("fields").lastChild.querySelector("textarea, select, input").focus();
  readFields();
}

const path = () => `predict/${encodeURIComponent(at("choice").value)}`;

function showCalls() {
  const body = at("body").value || "the request";
  showCode(at("calls"), calls(
    "POST", String(new URL(path(), root)), body, !at("key").closest("[hidden]")));
}

async function predict(event) {
  event.preventDefault();
  if (at("predict").disabled) return;
  const key = at("key").value;
  if (!/^[\x21-\x7e]*$/.test(key)) {
    outcome("bad", "Not sent: the key has a character that no key has.");
    return;
  }
  const headers = { "Content-Type": "application/json", ...(key && { "X-API-Key": key }) };
  const begun = performance.now();
  at("predict").ariaBusy = "true";
  try {
    const answer = await ask(path(), { method: "POST", headers, body: at("body").value || example });
    const text = await answer.text();
    showAnswer(answer, text, (performance.now() - begun) / 1000);
  } catch {
    outcome("bad", "No answer: the service cannot be reached.");
  }
  at("predict").ariaBusy = "false";
}

function showAnswer(answer, text, took) {
  let content = {};
  try { content = JSON.parse(text); } catch { /* a proxy's page; shown as it is */ }
  const id = answer.headers.get("X-Request-Id");
  const facts = [`${answer.status} in ${seconds(took)}`, ...(id ? [`request ${id}`] : [])];
  const classes = answer.ok ? classesOf(content) : [];
  const words = content.labels ?? content.predictions;
  const single = Array.isArray(words) && words.every((each) => typeof each !== "object" || !each);
  const named = single ? words.map((each) => each ?? "–") : classes.map(([[name]]) => name);
  const lead = answer.ok ? (named.length ? listed(named) : "Answered") : content.error;
  outcome(answer.ok ? "good" : "bad", lead ?? "Refused", facts.join(" · "));
  showClasses(classes, named);
  at("answer").textContent = text.length > LONGEST_SHOWN
    ? `${text.slice(0, LONGEST_SHOWN)}\n… ${bytes(text.length)} in all` : spread(text);
  at("answer").hidden = false;
}

function outcome(kind, lead, facts = "") {
  at("outcome").className = kind;
  at("outcome").replaceChildren(
    element("b", { textContent: lead }), element("span", { className: "soft", textContent: facts }));
  at("classes").hidden = at("answer").hidden = true;
}

const isDistribution = (row, names) => Array.isArray(row) && row.length > 1
  && row.length === (names ?? row).length && row.every((part) => part >= 0)
  && Math.abs(row.reduce((a, b) => a + b) - 1) < 0.01;

/**
 * For each row its classes with their probabilities, the likeliest first: of the output with as
 * many numbers as there are labels. Classes without labels have numbers.
 */
function classesOf({ predictions, outputs = {} }) {
  const described = models[at("choice").selectedIndex].outputs;
  const { names, rows } = described.map(({ name, parameters }, position) => ({
    names: parameters?.labels ?? described[0].parameters?.labels,
    rows: position ? outputs[name] : predictions,
  })).find(({ names, rows }) => Array.isArray(rows) && rows.length
    && rows.every((row) => isDistribution(row, names))) ?? {};
  return (rows ?? []).map((row) => row.map((part, index) => [names?.[index] ?? String(index), part])
    .sort(([, a], [, b]) => b - a));
}

/** Bars: of one row five classes, of several rows three each. */
function showClasses(rows, named) {
  at("classes").replaceChildren(...rows.slice(0, FEW).flatMap((classes, row) => [
    ...(rows.length > 1 ? [element("h3", { textContent: `Row ${row + 1}: ${named[row]}` })] : []),
    ...classes.slice(0, rows.length > 1 ? 3 : 5).map(([name, part]) => {
      const bar = element("i");
      bar.style.width = percent(part, 1);
      return element("p", {}, element("span", { textContent: name }),
        element("span", { className: "bar" }, bar),
        element("span", { textContent: percent(part, 1) }));
    })]));
  at("classes").hidden = !rows.length;
}

/* Drift */

let driftDue = 0;

async function askDrift() {
  driftDue = DRIFT_PERIODS;
  const key = at("key").value, needed = !at("key").closest("[hidden]");
  if (needed && !key) {
    showDrift({ reason: "The API key, given above, shows it" });
    return;
  }
  const name = at("choice").value, headers = needed ? { "X-API-Key": key } : {};
  const signal = AbortSignal.timeout(PATIENCE);
  const answer = await ask(`v2/models/${encodeURIComponent(name)}/drift`, { headers, signal })
    .then((given) => given.json()).catch(() => undefined);
  if (answer && at("choice").value === name) showDrift({ reason: answer.error, ...answer });
}

/* Asking, again and again */

async function tick() {
  const [server, scrape] = await Promise.all([
    read("v2").then((answer) => answer.json()).catch(() => undefined),
    read("metrics").then((answer) => answer.text()).then(parseMetrics).catch(() => undefined),
  ]);
  if (server) showServer(server);
  else showState("unknown", "No answer");
  showNotices(noticesOf(server, scrape));
  if (scrape) {
    const now = { scrape, time: performance.now() };
    showLive(scrape, sampleOf(now));
    before = now;
  }
  // Another release, or the models are there now: read what is said of them again.
  const identity = server && [server.revision, server.model_digest, server.models].join();
  if (server && identity !== shown) {
    await showModels(scrape).then(() => { shown = identity; }, () => {});
    driftDue = 0;
  }
  if (server?.ready && (driftDue -= 1) < 0) await askDrift();
}

/** What happened since the scrape before; nothing where that does not belong to two seconds. */
function sampleOf({ scrape, time }) {
  const passed = before ? time - before.time : 0;
  const missed = Math.min(KEPT, Math.round(passed / PERIOD) - 1);
  for (let gap = 0; gap < missed; gap += 1) samples.push({});
  const born = (each) => total(each, "process_start_time_seconds");
  // Another process may answer: after a restart, or beside this one behind the same address.
  if (!before || missed > 1 || born(scrape) !== born(before.scrape)) return {};
  return measure(scrape, before.scrape, passed / 1000);
}

const wanted = () => !document.hidden && at("pause").ariaPressed === "false";

async function live() {
  if (timer !== undefined || !wanted()) return;
  timer = 0;
  const begun = performance.now();
  await tick();
  const pause = Math.max(PERIOD - (performance.now() - begun), PERIOD / 4);
  timer = setTimeout(() => { timer = undefined; live(); }, pause);
}

at("pause").addEventListener("click", () => {
  const paused = at("pause").ariaPressed === "false";
  at("pause").ariaPressed = String(paused);
  live();
});
document.addEventListener("visibilitychange", live);
// A page that the browser keeps for its back button must not keep the key.
addEventListener("pagehide", () => { at("key").value = ""; });
at("choice").addEventListener("change", () => choose().then(restore, () => {}));
at("choice").addEventListener("change", askDrift);
at("key").addEventListener("change", askDrift);
for (const id of ["drift-window", "drift-column"]) at(id).addEventListener("change", drawDrift);
at("restore").addEventListener("click", restore);
at("try").addEventListener("submit", predict);
at("add").addEventListener("click", addRow);
at("fields").addEventListener("input", readFields);
at("body").addEventListener("input", showRequest);
at("body").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("try").requestSubmit();
});
live();
