// How a column was distributed in training and is now, side by side.

let drift = { columns: [] };

const distance = ({ index, limit }) => index / limit;
const driftWindow = () => at("drift-window").value;

/** Take an answer of `/v2/models/{name}/drift`, or the reason why there is none. */
function showDrift(answer) {
  drift = { columns: [], ...answer };
  at("drift").hidden = !drift.columns.length;
  drawDrift();
}

function drawDrift() {
  const now = driftWindow();
  const farthest = [...drift.columns].sort((a, b) => distance(b[now]) - distance(a[now]));
  const verdict = drift.columns.length ? verdictOf(farthest, now) : `${drift.reason}.`;
  if (at("drift-verdict").textContent !== verdict) at("drift-verdict").textContent = verdict;
  if (!drift.columns.length) return;
  showColumns(farthest, now);
  const column = farthest[at("drift-column").selectedIndex];
  const { index, limit, missing, unseen, rows, shares } = column[now];
  terms(at("drift-figures"), {
    Index: index.toFixed(3),
    Limit: limit.toFixed(3),
    Missing: percent(missing, 1),
    Unseen: percent(unseen, 1),
    "Rows counted": number(rows),
  });
  at("drift-name").textContent = column.name;
  // All bins of a column; missing values and others where there are any.
  const shown = column.bins.map((name, bin) => [name, column.training[bin], shares[bin]])
    .filter(([, then, today], bin) => bin < column.bins.length - 2 || then + today > 0);
  at("drift-bins").replaceChildren(...shown.map(([name, ...both]) => element("tr", {},
    element("th", { scope: "row", textContent: name }), ...both.map(shareCell))));
}

function shareCell(share) {
  const bar = element("i");
  bar.style.width = percent(share, 1);
  return element("td", {}, percent(share, 1), element("span", { className: "bar" }, bar));
}

function verdictOf(columns, now) {
  const rows = Math.max(...columns.map((column) => column[now].rows));
  if (!rows) return "Nothing was asked in this time.";
  const names = columns.filter((column) => column[now].drifted).map(({ name }) => name);
  return names.length ? `Not as in training: ${listed(names)}.`
    : `As in training: no column of ${number(rows)} rows has drifted.`;
}

/** The choice of columns; the one that was chosen stays chosen. */
function showColumns(columns, now) {
  const chosen = at("drift-column").value;
  at("drift-column").replaceChildren(...columns.map((column) => {
    const told = column[now].drifted ? ", drifted" : "";
    return new Option(`${column.name} (${column.side}${told})`, `${column.side} ${column.name}`);
  }));
  if (chosen) at("drift-column").value = chosen;
  if (at("drift-column").selectedIndex < 0) at("drift-column").selectedIndex = 0;
}
