-- Sends the files <folder>/0 .. <count - 1> in turn and prints what came of it as one line of JSON.
-- Arguments: folder, count, then headers as name=value.

local requests, next_request = {}, 0

function init(args)
  local folder, count = args[1], tonumber(args[2])
  wrk.method = "POST"
  for number = 3, #args do
    local name, value = args[number]:match("^([^=]+)=(.*)$")
    wrk.headers[name] = value
  end
  for number = 0, count - 1 do
    local file = assert(io.open(folder .. "/" .. number, "rb"))
    requests[number] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  local text = requests[next_request % #requests]
  next_request = next_request + 1
  return text
end

function done(summary, latency)
  local errors = summary.errors
  io.stdout:write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
