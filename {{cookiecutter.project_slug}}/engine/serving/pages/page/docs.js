// The API documentation: every operation of openapi.json, with an example that can be sent.

const root = new URL(location.pathname.replace(/docs\/?$/, ""), location.origin);
const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 8;
let api = {};

for (const link of document.querySelectorAll("a")) {
  link.href = new URL(link.getAttribute("href"), root);
}

/** What a `$ref` points to, or the value itself. */
const resolved = (value) => (value?.$ref
  ? value.$ref.slice(2).split("/").reduce((within, key) => within?.[key], api) : value);

/** A value that fits a schema, for operations that give no example. */
function made(given, depth = 0) {
  const schema = resolved(given) ?? {};
  const known = schema.example ?? schema.examples?.[0] ?? schema.default ?? schema.const
    ?? schema.enum?.[0];
  if (known !== undefined || depth > DEEPEST) return known ?? null;
  const choice = schema.anyOf?.[0] ?? schema.oneOf?.[0] ?? schema.allOf?.[0];
  if (choice) return made(choice, depth + 1);
  const type = [schema.type].flat()[0];
  if (type === "object" || schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties ?? {})
      .map(([name, each]) => [name, made(each, depth + 1)]));
  }
  if (type === "array") return [made(schema.items, depth + 1)];
  return { string: "text", integer: 1, number: 1, boolean: true }[type] ?? null;
}

/** An operation, closed until it is opened: what it does, a form that sends it, what it answers. */
function operation(path, method, content) {
  const card = element("details", { className: "card operation" },
    element("summary", {}, element("b", { textContent: method.toUpperCase() }), " ",
      element("code", { textContent: path }), " ",
      element("span", { className: "soft", textContent: content.summary ?? "" })));
  card.addEventListener("toggle", () => { if (card.children.length === 1) card.append(...parts()); });
  const parts = () => [
    element("p", { textContent: content.description ?? "" }),
    form(path, method, content),
    element("h3", { textContent: "Answers" }),
    element("table", {}, element("tbody", {}, ...Object.entries(content.responses ?? {}).map(
      ([status, answer]) => element("tr", {}, element("th", { scope: "row", textContent: status }),
        element("td", { textContent: resolved(answer).description }))))),
  ];
  return card;
}

function field(name, input) {
  return element("label", { textContent: name }, input);
}

function form(path, method, content) {
  const media = resolved(content.requestBody)?.content?.["application/json"];
  const example = media && JSON.stringify(media.example ?? made(media.schema));
  const parameters = (content.parameters ?? []).map(resolved)
    .map((each) => ({ ...each, input: element("input", { value: suggested(each) }) }));
  const body = example && element("textarea", { rows: 4, spellcheck: false,
    value: example.length > LONGEST_SHOWN ? "" : example,
    placeholder: "The example is long; left empty, it is sent as it is." });
  const code = element("details", {},
    element("summary", { textContent: "The same with curl, Python and JavaScript" }));
  const answer = element("pre", { tabIndex: 0, role: "region", ariaLabel: "Answer", hidden: true });
  const outcome = element("p", {}); outcome.role = "status";
  const text = () => (body ? body.value || example : "");
  const url = () => address(path, parameters);
  const guarded = (content.security ?? []).length > 0;
  const show = () => {
    showCode(code, calls(method.toUpperCase(), String(url()),
      text().length > LONGEST_SHOWN ? "the example" : text(), guarded));
  };
  const whole = element("form", { autocomplete: "off" },
    ...parameters.map(({ name, required, input }) => field(required ? name : `${name} (optional)`, input)),
    ...(body ? [field("Request body, JSON", body)] : []),
    element("p", { className: "buttons" }, element("button", { type: "submit", textContent: "Send" })),
    outcome, answer,
    code,
    ...(media?.schema ? [element("details", {}, element("summary", { textContent: "Schema" }),
      element("pre", { tabIndex: 0,
        textContent: JSON.stringify(resolved(media.schema), null, 2) }))] : []));
  whole.addEventListener("input", show);
  whole.addEventListener("submit", async (event) => {
    event.preventDefault();
    outcome.textContent = "Sent";
    answer.hidden = true;
    const key = document.getElementById("key").value;
    const headers = { ...(body && { "Content-Type": "application/json" }),
      ...(guarded && key && { "X-API-Key": key }) };
    try {
      const got = await fetch(url(), { method: method.toUpperCase(), headers, cache: "no-store",
        ...(body && { body: text() }) });
      const content = await got.text();
      outcome.textContent = `Status ${got.status}`;
      answer.textContent = content.length > LONGEST_SHOWN
        ? `${content.slice(0, LONGEST_SHOWN)}\n…` : content.startsWith("{") ? spread(content) : content;
      answer.hidden = false;
    } catch {
      outcome.textContent = "No answer: the service cannot be reached.";
    }
  });
  show();
  return whole;
}

/** The first model, where a path asks for one; else what the schema suggests. */
function suggested({ name, in: place, schema, example }) {
  const model = Object.keys(api.paths).map((path) => path.match(/^\/predict\/(.+)$/)?.[1]).find(Boolean);
  if (name === "name" && place === "path" && model) return model;
  return place === "path" ? String(example ?? made(schema) ?? "") : String(example ?? schema?.default ?? "");
}

function address(path, parameters) {
  const filled = parameters.filter((each) => each.in === "path").reduce(
    (text, { name, input }) => text.replace(`{${name}}`, encodeURIComponent(input.value)), path);
  const url = new URL(filled.slice(1), root);
  for (const { name, input, in: place } of parameters) {
    if (place === "query" && input.value) url.searchParams.set(name, input.value);
  }
  return url;
}

async function begin() {
  const answer = await fetch(new URL("openapi.json", root), { cache: "no-store" });
  api = await answer.json();
  const groups = new Map([["inference", []]]);
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((each) => methods[each])) {
      const tag = methods[method].tags?.[0] ?? "more";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, methods[method]));
    }
  }
  const filled = [...groups].filter(([, cards]) => cards.length);
  document.getElementById("operations").replaceChildren(...filled.flatMap(([tag, cards]) => [
    element("h2", { textContent: tag[0].toUpperCase() + tag.slice(1) }), ...cards]));
  const first = document.querySelector("details.operation");
  if (first) first.open = true;
}

// A page that the browser keeps for its back button must not keep the key.
addEventListener("pagehide", () => { document.getElementById("key").value = ""; });
begin().catch(() => {
  document.getElementById("state").textContent = "openapi.json cannot be read; reload the page.";
});
