// Reads a list of {"tables": {name: "(Column: type, …)"}, "queries": {name: text}} on standard input
// and says on standard output, for each item, what Microsoft's own parser and binder think of each
// query: diagnostics, each with its severity, and the columns of the result.
"use strict";

const folder = process.argv[2];
require(`${folder}/bridge.min.js`);
require(`${folder}/Kusto.Language.Bridge.min.js`);
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", () => {
  const cases = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  process.stdout.write(JSON.stringify(cases.map(answered)));
});

function answered(asked) {
  const tables = Object.entries(asked.tables).map(([name, schema]) =>
    Symbols.TableSymbol.From(schema).WithName(name),
  );
  const globals = GlobalState.Default.WithDatabase(
    new Symbols.DatabaseSymbol.$ctor1("workspace", tables),
  );
  const answers = {};
  for (const [name, text] of Object.entries(asked.queries)) {
    answers[name] = judged(KustoCode.ParseAndAnalyze(text, globals));
  }
  return answers;
}

function judged(code) {
  const found = code.GetDiagnostics();
  const diagnostics = [];
  for (let i = 0; i < found.Count; i += 1) {
    const each = found.getItem(i);
    diagnostics.push({ severity: each.Severity, message: each.Message, at: each.Start });
  }
  const columns = {};
  const result = code.ResultType;
  if (result && result.Columns) {
    for (let i = 0; i < result.Columns.Count; i += 1) {
      const column = result.Columns.getItem(i);
      columns[column.Name] = column.Type.Name;
    }
  }
  return { diagnostics, columns };
}
