// The request as fields: a set of them for each row, one for each column of a table.

const MOST_COLUMNS = 60, MOST_ROWS = 20;
const MISSING = "(missing)";
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** A number as it is written. Browsers that do not tell that could lose digits of large ones. */
class Digits {
  constructor(value, source) {
    if (!source && Math.abs(value) > Number.MAX_SAFE_INTEGER) throw new RangeError();
    this.text = source ?? String(value);
  }
}

/** The columns of a model that takes a table, and whether they have names; [] for all others. */
function columnsOf({ inputs }) {
  const all = inputs.map(({ parameters, ...rest }) => ({ ...rest, ...parameters }));
  const [first] = all, [rows, width] = first.shape;
  const isColumn = ({ shape }) => ["-1", "-1,1"].includes(shape.join());
  if (all.every((each) => isColumn(each) && !each.features)) return all;
  const isTable = all.length === 1 && first.shape.length === 2 && rows === -1 && width > 0;
  if (!isTable || width > MOST_COLUMNS) return [];
  return Array.from({ length: width }, (_, at) => ({
    ...first, name: first.features?.[at] ?? `Column ${at + 1}`, unnamed: !first.features }));
}

const isCell = (value) => value === null || typeof value !== "object" || value instanceof Digits;
const textOf = (cell) => (cell === null ? "" : cell.text ?? String(cell));

/** The rows of a request, a text for each column; undefined where fields cannot show them. */
function rowsOf(text, columns) {
  try {
    const { data, ...others } = JSON.parse(text, (_, value, context) => (
      typeof value === "number" ? new Digits(value, context?.source) : value));
    const names = columns.map(({ name }) => name);
    const inOrder = (record) => (Object.keys(record).length === names.length
      ? names.map((name) => record[name]) : []);
    const isList = Array.isArray(data), first = isList ? data[0] : undefined;
    const lists = isList ? [] : inOrder(data).map((list) => [list].flat(2));
    let rows = data;
    if (!isList) rows = lists[0].map((_, at) => lists.map((list) => list[at]));
    else if (isCell(first)) rows = names.length === 1 ? data.map((cell) => [cell]) : [data];
    else if (!Array.isArray(first)) rows = data.map(inOrder);
    const fits = (row) => row.length === names.length && row.every((cell, at) => isCell(cell)
      && !(cell === "" && columns[at].nullable)); // which would be a missing value
    const even = lists.every((list) => list.length === rows.length);
    const few = rows.length > 0 && rows.length <= MOST_ROWS && !Object.keys(others).length;
    return even && few && rows.every(fits) ? rows.map((row) => row.map(textOf)) : undefined;
  } catch {
    return undefined;
  }
}

/** A text as JSON. What is no number stays text, and the service says what it is instead. */
function cellOf(text, { datatype, nullable }) {
  if (text === "" && (nullable || datatype !== "BYTES")) return "null";
  const isPlain = datatype === "BOOL" ? /^(true|false)$/.test(text) : NUMBER.test(text);
  return datatype !== "BYTES" && isPlain ? text : JSON.stringify(text);
}

function requestOf(rows, columns) {
  const all = rows.map((row) => {
    const cells = row.map((text, at) => cellOf(text, columns[at]));
    if (columns[0].unnamed) return `[${cells.join(",")}]`;
    const pairs = cells.map((cell, at) => `${JSON.stringify(columns[at].name)}:${cell}`);
    return `{${pairs.join(",")}}`;
  });
  return `{"data":[${all.join(",")}]}`;
}

function fieldOf(text, { name, datatype, values, nullable }, id) {
  const choices = datatype === "BOOL" ? ["true", "false"] : values?.map(String);
  let input = element("textarea", { rows: 1, spellcheck: false });
  if (choices) {
    const all = new Set([...(nullable || !text ? [""] : []), ...choices, text]);
    input = element("select", {}, ...[...all].map((each) => new Option(each || MISSING, each)));
  } else if (datatype !== "BYTES") {
    input = element("input", { inputMode: "decimal", required: !nullable });
  }
  if (nullable && !choices) input.placeholder = MISSING;
  Object.assign(input, { id, value: text });
  return element("div", {}, element("label", { htmlFor: id, textContent: name }), input);
}

/** What is in the fields, row by row. */
const rowsIn = (place) => [...place.children].map((set) => (
  [...set.querySelectorAll("textarea, select, input")].map(({ value }) => value)));

/** Make the fields; `changed` is called once a row was removed. */
function showFields(place, rows, columns, changed) {
  place.replaceChildren(...rows.map((row, at) => {
    const remove = element("button", { type: "button", className: "quiet", textContent: "Remove",
      ariaLabel: `Remove row ${at + 1}`, hidden: rows.length === 1 });
    remove.addEventListener("click", () => {
      showFields(place, rowsIn(place).filter((_, other) => other !== at), columns, changed);
      changed();
    });
    return element("fieldset", {}, element("legend", { textContent: `Row ${at + 1}` }), remove,
      element("div", { className: "fields" },
        ...row.map((text, column) => fieldOf(text, columns[column], `field-${at}-${column}`))));
  }));
}
