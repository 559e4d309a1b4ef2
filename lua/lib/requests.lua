-- Records of charges, by request id: "<state> <event id> <remaining after> <parts>". State: charged | held (until it is
-- settled or runs out) | settled | released | refunded | cancelled. Parts: what was asked of whom, "<id>=<cost>,...".
-- How many there are is counted by the minute in which they expire, and once a minute those that have are taken off.

local function open_requests(key, now)
  local minute = math.floor(now / 60000000)
  local fields = redis.call('HMGET', key, 'live', 'minute')
  local requests = { key = key, live = whole(fields[1]) or 0, added = {}, lifetimes = {} }
  if whole(fields[2]) == minute then return requests end
  local all, gone = redis.call('HGETALL', key), {}
  requests.live, requests.minute = 0, minute
  for place = 1, #all, 2 do
    local expires = tonumber(all[place])
    if expires and expires < minute then
      gone[#gone + 1] = all[place]
    elseif expires then
      requests.live = requests.live + tonumber(all[place + 1])
    end
  end
  requests.gone = gone
  return requests
end

local function save_request(requests, key, text, lifetime_ms, now)
  local written = requests.lifetimes[lifetime_ms]
  if not written then -- most records of a call live equally long
    written = { text = digits(lifetime_ms), minute = digits(math.floor((now + lifetime_ms * 1000) / 60000000)) }
    requests.lifetimes[lifetime_ms] = written
  end
  redis.call('SET', key, text, 'PX', written.text)
  requests.added[written.minute] = (requests.added[written.minute] or 0) + 1
  requests.live, requests.grown = requests.live + 1, true
end

local function save_requests(requests)
  if requests.gone and #requests.gone > 0 then
    for first = 1, #requests.gone, 1000 do
      redis.call('HDEL', requests.key, unpack(requests.gone, first, math.min(#requests.gone, first + 999)))
    end
  end
  for minute, count in pairs(requests.added) do redis.call('HINCRBY', requests.key, minute, digits(count)) end
  if requests.grown or requests.minute then redis.call('HSET', requests.key, 'live', digits(requests.live)) end
  if requests.minute then redis.call('HSET', requests.key, 'minute', digits(requests.minute)) end
end

local function read_request(text)
  if not text then return nil end
  local state, event, after, parts = string.match(text, '^(%a+) (%S+) (%S+) (.*)$')
  return { state = state, event = event, after = after, text = parts }
end
