-- One event a request.
dofile(os.getenv("WRK_COMMON"))

function request()
  return wrk.format(nil, "/events", nil, event())
end
