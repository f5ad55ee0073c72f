-- A hundred events a request.
dofile(os.getenv("WRK_COMMON"))

function request()
  local events = {}
  for n = 1, 100 do events[n] = event() end
  return wrk.format(nil, "/events/batch", nil, '{"events":[' .. table.concat(events, ",") .. ']}')
end
