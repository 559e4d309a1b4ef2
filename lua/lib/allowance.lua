-- Prepaid allowances: access tokens, and quotas of kind allowance. One hash each, amounts in micro-units:
-- kind (allowance|count|hybrid|time), total, remaining, epoch, seq, expires_at_us (0 never), active, and for a pace of its
-- own capacity, refill_rate, pace. `seq` counts the ledger facts of an `epoch`, so that SQL alone shows what is missing.

local A_REQUEST = 1000000 -- what one request takes of a token's own pace

-- Read an allowance. One that is not there has no seq and is `missing`. Its numbers are our own: they were checked when
-- they were written, and `whole` for each would take 3 us.
local function open_allowance(key, now)
  local fields = redis.call('HMGET', key, 'seq', 'kind', 'remaining', 'epoch', 'expires_at_us', 'active', 'allowed', 'capacity')
  local id, seq = string.sub(key, 19), tonumber(fields[1] or nil)
  if not seq then return { key = key, id = id, limited = 0 } end
  local it = {
    key = key, id = id, seq = seq, limited = 0, metered = fields[2] ~= 'time', active = fields[6] == '1',
    remaining = tonumber(fields[3] or nil) or 0, epoch = tonumber(fields[4] or nil),
    expires = tonumber(fields[5] or nil) or 0, allowed = tonumber(fields[7] or nil) or 0,
  }
  if not fields[8] then return it end
  local pace = redis.call('HMGET', key, 'refill_rate', 'pace')
  local capacity, rate = whole(fields[8]), whole(pace[1])
  if capacity and rate then
    local level, at = string.match(pace[2] or '', '^(%d+) (%d+)$')
    level, at = tonumber(level) or capacity, tonumber(at) or now
    level, at = refilled(level, at, now, capacity, rate)
    it.pace = { capacity = capacity, rate = rate, level = level, at = at }
  end
  return it
end

-- What stands between an allowance and a cost.
local function allows(it, cost, now)
  if not it.seq then return 'missing' end
  if not it.active then return 'disabled' end
  if it.expires > 0 and now >= it.expires then return 'expired' end
  if it.metered and cost > it.remaining then return 'exhausted' end
  if it.pace and cost > 0 and it.pace.level < A_REQUEST then return 'limited' end
  return 'granted'
end

-- Change what remains and write the ledger fact of it. `rest` is " key=value ..." or empty.
local function post(it, facts, event, action, change, rest, now)
  local before = it.remaining
  it.remaining, it.seq, it.changed = before + change, it.seq + 1, true
  facts[#facts + 1] = event
  facts[#facts + 1] = string.format(
    'ledger subject=%s action=%s before=%d change=%d after=%d epoch=%d seq=%d at=%d%s',
    it.id, action, before, change, it.remaining, it.epoch, it.seq, now, rest)
end

-- Take a cost that it allows: the request's step of its pace, and the units with their fact.
local function charge_allowance(it, cost, facts, event, rest, now)
  if cost == 0 then return end
  it.allowed, it.changed = it.allowed + 1, true
  if it.pace then it.pace.level = it.pace.level - A_REQUEST end
  if it.metered then post(it, facts, event, 'consume', -cost, rest, now) end
end

local function save_allowance(it)
  if not it.changed then return end
  local allowed = digits(it.allowed)
  if it.metered then
    redis.call('HSET', it.key, 'allowed', allowed, 'remaining', digits(it.remaining), 'seq', digits(it.seq))
  else
    redis.call('HSET', it.key, 'allowed', allowed)
  end
  if it.pace then redis.call('HSET', it.key, 'pace', level_text(it.pace.level, it.pace.at)) end
end
