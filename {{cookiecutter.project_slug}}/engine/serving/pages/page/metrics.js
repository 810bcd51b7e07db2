// From the text of /metrics to numbers. Any metric may be missing; what depends on it is undefined.

/** One scrape: a map of metric names to samples, each with its labels and value. */
function parseMetrics(text) {
  const scrape = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels, value] = line.match(/^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i) ?? [];
    if (!name) continue;
    const pairs = [...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    const sample = {
      labels: Object.fromEntries(pairs.map(([, key, text]) => [key, text])),
      value: Number(value.replace("Inf", "Infinity")),
    };
    if (!scrape.has(name)) scrape.set(name, []);
    scrape.get(name).push(sample);
  }
  return scrape;
}

/** The sum over all samples of a metric that fit. */
function total(scrape, name, fits = () => true) {
  const samples = scrape.get(name)?.filter((sample) => fits(sample.labels));
  return samples && samples.reduce((sum, sample) => sum + sample.value, 0);
}

/** How much a counter grew between two scrapes; undefined after a restart. */
function growth(now, before, name, fits) {
  const grown = total(now, name, fits) - total(before, name, fits);
  return grown >= 0 ? grown : undefined;
}

/** What a histogram got between two scrapes, as cumulative counts by upper bound. */
function observed(now, before, name) {
  const bounds = new Set(now.get(`${name}_bucket`)?.map((sample) => sample.labels.le));
  return [...bounds]
    .map((le) => ({
      bound: le === "+Inf" ? Infinity : Number(le),
      count: growth(now, before, `${name}_bucket`, (labels) => labels.le === le),
    }))
    .sort((a, b) => a.bound - b.bound);
}

/**
 * The value below which a part of the observations lies, evenly spread within a bucket as
 * Prometheus' histogram_quantile has it; undefined without observations.
 */
function quantile(buckets, part) {
  const all = buckets.at(-1)?.count;
  if (!all) return undefined;
  const at = buckets.findIndex((bucket) => bucket.count >= part * all);
  const below = buckets[at - 1] ?? { bound: 0, count: 0 };
  const { bound, count } = buckets[at];
  if (bound === Infinity) return below.bound;
  return below.bound + (bound - below.bound) * (part * all - below.count) / (count - below.count);
}

/** What the charts and figures show: the difference of two scrapes, so many seconds apart. */
function measure(now, before, seconds) {
  const rate = (name, fits) => growth(now, before, name, fits) / seconds;
  const mean = (name) => growth(now, before, `${name}_sum`) / growth(now, before, `${name}_count`);
  const duration = observed(now, before, "inference_request_duration_seconds");
  const lag = observed(now, before, "inference_event_loop_lag_seconds");
  return {
    rate: rate("inference_requests_total"),
    failed: rate("inference_requests_total", (labels) => labels.status >= "4"),
    p50: quantile(duration, 0.5),
    p95: quantile(duration, 0.95),
    p99: quantile(duration, 0.99),
    waiting: total(now, "inference_queue_rows"),
    refused: rate("inference_refused_total"),
    batch: mean("inference_batch_rows"),
    cpu: rate("process_cpu_seconds_total"),
    lag: quantile(lag, 0.99),
  };
}
