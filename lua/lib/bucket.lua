-- The token bucket in micro-units, the only place with its arithmetic. All values stay below 2^53, so every
-- addition is exact; products that would not fit are taken apart.

local FOREVER = 9000000000000000 -- microseconds (285 years): longer waits are told as this

-- ceil(units * 10^6 / rate): how many microseconds it takes to gain `units` at `rate` per second.
local function time_to_gain(units, rate)
  if units <= 0 then return 0 end
  if rate <= 0 then return -1 end
  local rest = math.fmod(units, rate)
  local seconds = (units - rest) / rate
  if seconds >= FOREVER / 1000000 then return FOREVER end
  if rest <= 9000000000 then return seconds * 1000000 + math.ceil(rest * 1000000 / rate) end
  -- rest * 10^6 does not fit: multiply bit by bit, dividing as we go. Doubling below 2^54 is exact because the
  -- result is even; the subtractions are exact because their operands are within a factor of two.
  local quotient, left = 0, 0
  for _, bit in ipairs({ 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0 }) do
    quotient, left = quotient * 2, left * 2
    if left >= rate then quotient, left = quotient + 1, left - rate end
    if bit == 1 then
      if left >= rate - rest then quotient, left = quotient + 1, left - (rate - rest) else left = left + rest end
    end
  end
  if left > 0 then quotient = quotient + 1 end
  return seconds * 1000000 + quotient
end

-- Bring a stored level up to now. Returns level, at, jumped.
-- credit = floor(elapsed * rate / 10^6); `at` advances only by the time that credit took, so that polling often
-- does not round the refill away. A clock that went back earns nothing and re-anchors the bucket at the new now:
-- it would otherwise stand still until the old moment comes round again.
local function refilled(level, at, now, capacity, rate)
  if level > capacity then level = capacity end
  if now < at then return level, now, true end
  if level == capacity then return capacity, now, false end
  if rate == 0 then return level, now, false end
  local elapsed = now - at
  local seconds = math.floor(elapsed / 1000000)
  if seconds > (capacity - level) / rate then return capacity, now, false end
  local part = elapsed - seconds * 1000000
  local high = math.floor(rate / 1000000)
  local low = rate - high * 1000000
  local credit = seconds * rate + part * high + math.floor(part * low / 1000000)
  if level + credit >= capacity then return capacity, now, false end
  local unused = math.fmod(part * low, 1000000)
  return level + credit, now - math.floor(unused / rate), false
end

-- A stored "<level> <at_us>" brought up to now. What is no such text is an error, and so is what is no number.
local function read_level(text, now, capacity, rate)
  local gap = string.find(text, ' ', 1, true) or error('INVALID level')
  local level, at = tonumber(string.sub(text, 1, gap - 1)), tonumber(string.sub(text, gap + 1))
  if not (level >= 0 and at >= 0) then error('INVALID level') end
  return refilled(level, at, now, capacity, rate)
end

-- Read a quota's definition. One that is not there is not `known`, and has nothing.
local function open_quota(quota_key)
  local fields = redis.call('HMGET', quota_key, 'capacity', 'refill_rate', 'enabled', 'overrides')
  local capacity, rate = tonumber(fields[1]), tonumber(fields[2]) -- define saw that they are whole
  local known = capacity and rate and capacity >= 0 and rate >= 0 and capacity <= FOREVER and rate <= FOREVER
  return {
    key = quota_key, known = known, capacity = known and capacity or 0, rate = known and rate or 0,
    enabled = known and fields[3] == '1', overrides = fields[4], allowed = 0, limited = 0, retry = 0, jumps = 0, longest = 0,
  }
end

-- Capacity and rate of one of a quota's buckets. qf:{p0}:level:<id>:<key> is longer than qf:{p0}:quota:<id> by ":<key>";
-- a key may have terms of its own in the field override:<key> of the quota.
local function terms_of(quota, level_key)
  if quota.overrides and #level_key > #quota.key then
    local own = redis.call('HGET', quota.key, 'override:' .. string.sub(level_key, #quota.key + 2))
    if own then
      local capacity, rate = string.match(own, '^(%d+) (%d+)$')
      return whole(capacity), whole(rate)
    end
  end
  return quota.capacity, quota.rate
end

-- What stands between a cost and a bucket of this capacity that holds `level`.
local function verdict(quota, capacity, level, cost)
  if quota.enabled and cost <= level then return 'granted' end
  if not quota.known then return 'missing' end
  if not quota.enabled then return 'disabled' end
  if cost > capacity then return 'impossible' end
  return 'limited'
end

-- Microseconds until a bucket that held `level` at the moment `at` holds `units`; -1 is never.
local function wait_for(units, capacity, rate, level, at, now)
  if units > capacity then return -1 end
  local gain = time_to_gain(units - level, rate)
  if gain <= 0 then return gain end
  gain = gain - (now - at)
  return gain > 1 and gain or 1
end

local function level_text(level, at)
  return string.format('%d %d', level, at)
end

-- A keyed level that would be full again need not be remembered: it expires then. PX for `full_us` from now.
local function lifetime(full_us)
  return digits(math.ceil(full_us / 1000) + 1)
end
