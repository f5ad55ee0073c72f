-- Events with ids that no other thread or run has sent, and the result as a line of JSON.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init()
  local token = os.getenv("INGESTD_TOKEN")
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if token then wrk.headers["Authorization"] = "Bearer " .. token end
  prefix = "wrk-" .. os.getenv("SEED") .. "-" .. number .. "-"
  now = os.date("!%Y-%m-%dT%H:%M:%SZ")
  made = 0
end

function event()
  made = made + 1
  return '{"eventId":"' .. prefix .. made .. '","eventType":"cart_updated","timestamp":"' .. now
    .. '","userId":"user_' .. made % 1000 .. '","sessionId":"session_' .. made % 5000 .. '","storeId":"store_' .. made % 50
    .. '","data":{"items":[{"productId":"sku_' .. made % 1000 .. '","quantity":2,"price":19.99}],"total":39.98}'
    .. ',"metadata":{"userAgent":"wrk","referrer":"https://shop.example/cart"}}'
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.6f,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, e.connect, e.read, e.write, e.timeout, e.status,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
