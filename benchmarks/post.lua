-- What wrk sends, and what it reports. Arguments: file of the body, then headers as "Name: value".
function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   for index = 2, #args do
      local name, value = args[index]:match("^([^:]+): (.*)$")
      wrk.headers[name] = value
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'REPORT {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p90_ms": %.4f, "p99_ms": %.4f, '
         .. '"max_ms": %.4f, "failed": %d, "refused": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3,
      errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
