-- Posts a photo again and again: wrk -t1 -c8 -d10s --latency -s load.lua URL -- photo.jpg [KEY]
-- Says how many answers were errors, which wrk's own report counts as answers.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = "application/octet-stream"
  if args[2] then
    wrk.headers["Authorization"] = "Bearer " .. args[2]
  end
  file:close()
end

function done(summary, latency)
  print(string.format("%.1f good answers a second, %d errors", (summary.requests - summary.errors.status)
    / summary.duration * 1e6, summary.errors.status + summary.errors.connect + summary.errors.timeout))
end
