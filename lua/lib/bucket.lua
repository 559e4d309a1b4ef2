-- The token bucket in micro-units, the only place with its arithmetic. All values stay below 2^53, so every
-- addition is exact; products that would not fit are taken apart.

local FOREVER = 9000000000000000 -- microseconds (285 years): longer waits are told as this
local floor, ceil, fmod = math.floor, math.ceil, math.fmod

-- ceil(units * 10^6 / rate): how many microseconds it takes to gain `units` at `rate` per second.
local function time_to_gain(units, rate)
  if units <= 0 then return 0 end
  if rate <= 0 then return -1 end
  local rest = fmod(units, rate)
  local seconds = (units - rest) / rate
  if seconds >= FOREVER / 1000000 then return FOREVER end
  if rest <= 9000000000 then return seconds * 1000000 + ceil(rest * 1000000 / rate) end
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
  local seconds = floor(elapsed / 1000000)
  if seconds > (capacity - level) / rate then return capacity, now, false end
  local part = elapsed - seconds * 1000000
  local high = floor(rate / 1000000)
  local low = rate - high * 1000000
  local credit = seconds * rate + part * high + floor(part * low / 1000000)
  if level + credit >= capacity then return capacity, now, false end
  local unused = fmod(part * low, 1000000)
  return level + credit, now - floor(unused / rate), false
end

-- Read a quota's definition. One that is not there has no capacity and is `missing`.
local function open_quota(quota_key)
  local fields = redis.call('HMGET', quota_key, 'capacity', 'refill_rate', 'enabled', 'overrides')
  local capacity, rate = whole(fields[1]), whole(fields[2])
  local quota = { allowed = 0, limited = 0, retry = 0, jumps = 0 }
  if capacity and rate then
    quota.capacity, quota.rate, quota.enabled, quota.overrides = capacity, rate, fields[3] == '1', fields[4]
  end
  return quota
end

-- Bring a bucket up to now from its stored text; none means full. `key` names one of a quota's many buckets, '' the
-- only one; a key may have a capacity and rate of its own in the field override:<key> of the quota.
local function open_bucket(quota, quota_key, key, stored, now)
  local capacity, rate = quota.capacity or 0, quota.rate or 0
  if quota.overrides and key ~= '' then
    local own = redis.call('HGET', quota_key, 'override:' .. key)
    if own then
      local own_capacity, own_rate = string.match(own, '^(%d+) (%d+)$')
      capacity, rate = whole(own_capacity), whole(own_rate)
    end
  end
  local level, at, jumped = capacity, now, false
  if stored and quota.capacity then
    level, at = string.match(stored, '^(%d+) (%d+)$')
    level, at, jumped = refilled(tonumber(level), tonumber(at), now, capacity, rate)
    if jumped then quota.jumps = quota.jumps + 1 end
  end
  return { quota = quota, capacity = capacity, rate = rate, level = level, at = at, jumped = jumped, keyed = key ~= '', taken = false }
end

-- What stands between a bucket and a cost.
local function verdict(bucket, cost)
  local quota = bucket.quota
  if quota.enabled and cost <= bucket.level then return 'granted' end
  if not quota.capacity then return 'missing' end
  if not quota.enabled then return 'disabled' end
  if cost > bucket.capacity then return 'impossible' end
  return 'limited'
end

-- Microseconds until `cost` units are there; -1 is never.
local function wait_for(bucket, cost, now)
  if cost > bucket.capacity then return -1 end
  local gain = time_to_gain(cost - bucket.level, bucket.rate)
  if gain <= 0 then return gain end
  return math.max(1, gain - (now - bucket.at))
end

local function level_text(bucket)
  return string.format('%d %d', bucket.level, bucket.at)
end

-- A keyed level that would be full again need not be remembered: it expires then, `full_us` from now. One that never
-- refills (-1) stays.
local function save_bucket(bucket, level_key, full_us)
  if bucket.keyed and full_us >= 0 then
    redis.call('SET', level_key, level_text(bucket), 'PX', digits(ceil(full_us / 1000) + 1))
  else
    redis.call('SET', level_key, level_text(bucket))
  end
end

-- Save `count` keyed levels of one quota, given as key, text, key, text ...; they expire when the last one is full.
-- MSETEX (Valkey 9.1, Redis 8.4) takes 2 us a level, a SET of its own 5 us.
local function save_keyed(levels, count, full_us)
  local lifetime = digits(ceil(full_us / 1000) + 1)
  if count > 1 and pcall(redis.acl_check_cmd, 'MSETEX', '1', levels[1], '', 'PX', '1') then
    levels[#levels + 1] = 'PX'
    levels[#levels + 1] = lifetime
    redis.call('MSETEX', count, unpack(levels))
    return
  end
  for place = 1, count * 2, 2 do redis.call('SET', levels[place], levels[place + 1], 'PX', lifetime) end
end
