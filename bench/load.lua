-- The load of bench/run.py and bench/kms.py: the requests of a file, one after the other in each thread.
-- Lines of the file: METHOD <tab> path-and-query <tab> name: value <tab> name: value ... A field that begins with "{" is
-- the request's body; every PUT has one and the same body, of a file.

local requests, position = {}, 0

function init(args)
  local content = nil
  if args[2] then
    local file = assert(io.open(args[2], "rb"))
    content = file:read("*a")
    file:close()
  end
  for line in io.lines(args[1]) do
    local fields = {}
    for field in line:gmatch("[^\t]+") do fields[#fields + 1] = field end
    local headers, body = {}, nil
    if fields[1] == "PUT" then body = content end
    for i = 3, #fields do
      local name, value = fields[i]:match("^([^:{]+): (.*)$")
      if name then headers[name] = value else body = fields[i] end
    end
    requests[#requests + 1] = wrk.format(fields[1], fields[2], headers, body)
  end
  position = math.random(#requests)
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency, _)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
