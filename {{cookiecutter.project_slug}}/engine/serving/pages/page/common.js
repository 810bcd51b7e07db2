"use strict";
// What both pages use: elements, JSON with some air, and a request as a command and as a program.

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
 * One request as a command of the shell and as a Python program. A key is not written into them:
 * both read it from the environment variable API_KEY.
 */
function calls(method, url, body, withKey) {
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const python = (text) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")
    .replaceAll("\n", "\\n")}'`;
  const json = body ? [["Content-Type", "application/json"]] : [];
  const curl = ["curl -s", ...(method === "GET" ? [] : [`-X ${method}`]), shell(url),
    ...json.map(([name, value]) => `-H '${name}: ${value}'`),
    ...(withKey ? ['-H "X-API-Key: $API_KEY"'] : []), ...(body ? [`-d ${shell(body)}`] : [])];
  const headers = [...json.map(([name, value]) => `"${name}": "${value}"`),
    ...(withKey ? ['"X-API-Key": os.environ["API_KEY"]'] : [])];
  return `${curl.join(" ")}

# in Python
${withKey ? "import os\n" : ""}import urllib.request

request = urllib.request.Request(
    ${python(url)},
    method="${method}",${body ? `\n    data=${python(body)}.encode(),` : ""}
    headers={${headers.join(", ")}},
)
print(urllib.request.urlopen(request).read().decode())`;
}
