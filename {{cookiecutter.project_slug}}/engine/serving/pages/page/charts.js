// Numbers as text, and as lines. What is drawn can also be read: in the caption, in the image's
// label and in the table.

const WIDTH = 240, HEIGHT = 72, KEPT = 60;
const decimal = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const known = (value) => Number.isFinite(value);
const number = (value) => (Math.abs(value) < 100 ? decimal : whole).format(value);
const perSecond = (value) => `${number(value)}/s`;
const seconds = (value) => (value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`);
const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)}%`;

function bytes(value) {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(value, 1)) / 10));
  return `${decimal.format(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function span(value) {
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(value / unit));
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.floor(value)} s`;
}

/**
 * `from` is the metric without which there is no chart, and `least` what its height stands for at
 * least. `marks` become ticks at the bottom wherever they are above zero.
 */
const CHARTS = [
  { title: "Requests", from: "inference_requests_total", text: perSecond, least: 1,
    series: { rate: "all", failed: "failed" } },
  { title: "Latency", from: "inference_request_duration_seconds_bucket", text: seconds,
    axis: logarithmic, least: 0.001, series: { p50: "p50", p95: "p95", p99: "p99" } },
  { title: "Queue", from: "inference_queue_rows", text: number, least: 4,
    series: { waiting: "rows waiting" }, marks: { refused: "refused" } },
  { title: "Batch size", from: "inference_batch_rows_count", text: number, least: 4,
    series: { batch: "rows in a run" } },
];

/** An axis from zero to a round number above all values. */
function linear(values, least) {
  const highest = Math.max(least, ...values);
  const power = 10 ** Math.floor(Math.log10(highest));
  const top = power
    * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= highest * 0.9999);
  return { top, bottom: 0, part: (value) => value / top };
}

/** An axis between powers of ten, so that one slow request does not flatten all others. */
function logarithmic(values, least) {
  const top = Math.ceil(Math.log10(Math.max(least, ...values)));
  const bottom = Math.min(top - 1, Math.floor(Math.log10(Math.min(least, ...values))));
  const part = (value) => (Math.log10(value) - bottom) / (top - bottom);
  return { top: 10 ** top, bottom: 10 ** bottom, part };
}

/** Points of the values, the newest at the right edge; a missing value begins a new run. */
function runs(values, part) {
  const found = [[]];
  values.forEach((value, index) => {
    const x = WIDTH * (1 - (values.length - 1 - index) / (KEPT - 1));
    const y = HEIGHT - 1 - (HEIGHT - 2) * part(value);
    if (known(y)) found.at(-1).push([x.toFixed(1), y.toFixed(1)]);
    else found.push([]);
  });
  return found.filter((run) => run.length);
}

/** A point alone is a line of no length, which round ends make a dot. */
const line = (values, part) => runs(values, part).map((run) => `M${run.join("L")}l0 0`).join("");

/** The surface below the line. */
const area = (values, part) => runs(values, part)
  .map((run) => `M${run[0][0]} ${HEIGHT}L${run.join("L")}L${run.at(-1)[0]} ${HEIGHT}Z`).join("");

/** One chart: makes its figure, and draws the samples. */
class Chart {
  constructor({ title, from, text, axis = linear, least, series, marks = {} }) {
    Object.assign(this, { title, from, text, axis, least, series, marks });
    this.figure = document.getElementById("chart").content.cloneNode(true).firstElementChild;
    this.figure.dataset.chart = title;
    this.find("h3").textContent = title;
  }

  find(selector) { return this.figure.querySelector(selector); }

  draw(samples) {
    const columns = Object.keys(this.series).map((key) => samples.map((sample) => sample[key]));
    const { top, bottom, part } = this.axis(columns.flat().filter(known), this.least);
    columns.forEach((values, index) => {
      this.find(`path.s${index}`).setAttribute("d", line(values, part));
    });
    this.find(".area").setAttribute("d", area(columns[0], part));
    for (const key of Object.keys(this.marks)) {
      const values = samples.map((sample) => (sample[key] > 0 ? 0 : undefined));
      this.find(".marks").setAttribute("d", line(values, (value) => value));
    }
    this.find(".top").textContent = this.text(top);
    this.find(".bottom").textContent = bottom ? this.text(bottom) : "";
    this.describe(samples);
  }

  describe(samples) {
    const rows = this.rows(samples);
    this.find(".legend").replaceChildren(...rows.map(({ name, now }, index) => {
      const key = index < Object.keys(this.series).length ? `key s${index}` : "key bad";
      return element("span", {}, element("i", { className: key }), `${name} `,
        element("b", { textContent: now }));
    }));
    const words = rows.map(({ name, now, high }) => `${name} ${now}, highest ${high}`);
    this.find("svg").setAttribute("aria-label", `${this.title}: ${words.join("; ")}`);
  }

  /** Now, lowest and highest of every series, as text; a dash where nothing is known. */
  rows(samples) {
    const line = ([key, name], text) => {
      const values = samples.map((sample) => sample[key]);
      const seen = values.filter(known);
      const [now, low, high] = [values.at(-1), Math.min(...seen), Math.max(...seen)]
        .map((value) => (known(value) ? text(value) : "–"));
      return { key, name, now, low, high };
    };
    return [
      ...Object.entries(this.series).map((entry) => line(entry, this.text)),
      ...Object.entries(this.marks).map((entry) => line(entry, perSecond)),
    ];
  }
}
