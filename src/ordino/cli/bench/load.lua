-- The load for wrk: unique orders, or random look-ups; only good answers are counted. Arguments: kind, run, SKUs, path.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  kind, run, skus, path = args[1], args[2], tonumber(args[3]), args[4]
  places = select(2, path:gsub("%%05d", ""))
  sent, good = 0, 0
  math.randomseed(number * 7919 + tonumber(run, 36) % 1000003)
end

local function order(lines, goods)
  sent = sent + 1
  return string.format(
    '{"channel":"bench","external_id":"%s-%d-%d","currency":"EUR","lines":[%s],"shipping_minor":495,"total_minor":%d,' ..
    '"ship_to":{"name":"A Buyer","line1":"Some Street 1","city":"Somewhere","postal_code":"%05d","country":"DE"}}',
    run, number, sent, lines, goods + 495, math.random(0, 99) * 1000)
end

local function line(sku, quantity)
  return string.format('{"sku":"%s","quantity":%d,"unit_price_minor":1999}', sku, quantity)
end

local json = { ["Content-Type"] = "application/json" }

function request()
  if kind == "get" then
    local numbers = {}
    for n = 1, places do numbers[n] = math.random(1, skus) end
    return wrk.format("GET", string.format(path, unpack(numbers)))
  end
  if kind == "promise" then
    local body = string.format(
      '{"channel":"bench","country":"DE","postal_code":"%05d","lines":[{"sku":"B%05d","quantity":1},{"sku":"B%05d","quantity":2}]}',
      math.random(0, 99) * 1000, math.random(1, skus), math.random(1, skus))
    return wrk.format("POST", path, json, body)
  end
  local a, b = math.random(1, skus), math.random(1, skus - 1)
  if b >= a then b = b + 1 end
  local p, q = math.random(1, 3), math.random(1, 3)
  local first = string.format("B%05d", a)
  if kind == "hot" then first, p = "hot", 1 end
  local lines = line(first, p) .. "," .. line(string.format("B%05d", b), q)
  return wrk.format("POST", path, json, order(lines, (p + q) * 1999))
end

function response(status, headers, body)
  if kind == "get" or kind == "promise" then
    if status == 200 then good = good + 1 end
  elseif (status == 200 or status == 201) and string.find(body, '"outcome":"placed"', 1, true) then
    good = good + 1
  end
end

function done(summary, latency, requests)
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get("good") end
  io.write(string.format('\n{"good":%d,"answers":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\n', total, summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
