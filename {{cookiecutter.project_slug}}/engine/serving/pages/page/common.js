"use strict";
// What both pages use: elements, JSON with some air, and a request as a command and as programs.

const LONGEST_SHOWN = 20_000;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** JSON with some air, as text: a number that is read and written again may lose digits. */
function spread(text) {
  let depth = 0;
  return text.replace(/"(?:[^"\\]|\\.)*"|[[\]{}:,]/g, (token) => {
    if (token === "[" || token === "{") depth += 1;
    if (token === "]" || token === "}") depth -= 1;
    if (token === "{" && depth === 1) return "{\n  ";
    if (token === "}" && depth === 0) return "\n}";
    if (token === ",") return depth === 1 ? ",\n  " : ", ";
    return token === ":" ? ": " : token;
  });
}

/**
 * One request as a command of the shell and as programs. A key is not written into them: they read
 * it from the environment variable API_KEY.
 */
function calls(method, url, body, withKey) {
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const python = (text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")
    .replaceAll("\n", "\\n")}'`;
  const json = body ? [["Content-Type", "application/json"]] : [];
  const curl = ["curl -s", ...(method === "GET" ? [] : [`-X ${method}`]), shell(url),
    ...json.map(([name, value]) => `-H '${name}: ${value}'`),
    ...(withKey ? ['-H "X-API-Key: $API_KEY"'] : []), ...(body ? [`-d ${shell(body)}`] : [])];
  const headers = (key) => [...json.map(([name, value]) => `"${name}": "${value}"`),
    ...(withKey ? [`"X-API-Key": ${key}`] : [])].join(", ");
  return {
    curl: curl.join(" "),
    Python: `${withKey ? "import os\n" : ""}import urllib.request

request = urllib.request.Request(
    ${python(url)},
    method="${method}",${body ? `\n    data=${python(body)}.encode(),` : ""}
    headers={${headers('os.environ["API_KEY"]')}},
)
print(urllib.request.urlopen(request).read().decode())`,
    JavaScript: `const answer = await fetch(${JSON.stringify(url)}, {
  method: "${method}",
  headers: { ${headers("process.env.API_KEY")} },${body ? `\n  body: ${JSON.stringify(body)},` : ""}
});
console.log(await answer.text());`,
  };
}

/** Show them, each with a button that copies it where the browser lets a page do that. */
function showCode(place, texts) {
  for (const [name, text] of Object.entries(texts)) {
    let code = place.querySelector(`[aria-label="${name}"]`);
    if (!code) {
      code = element("pre", { tabIndex: 0, role: "region", ariaLabel: name });
      const copy = element("button", { type: "button", className: "quiet", textContent: "Copy",
        ariaLabel: `Copy ${name}`, hidden: !navigator.clipboard });
      const say = (word) => {
        copy.textContent = word;
        copy.ariaLabel = `${word} ${name}`;
      };
      const shown = code;
      copy.addEventListener("click", () => {
        navigator.clipboard.writeText(shown.textContent)
          .then(() => say("Copied"), () => say("Cannot copy"));
        setTimeout(say, 3000, "Copy");
      });
      place.append(element("div", { className: "title" },
        element("b", { textContent: name }), copy), code);
    }
    code.textContent = text;
  }
}
