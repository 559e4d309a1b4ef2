-- Buckets that several requests of a call draw on, or that are changed one at a time.

-- Bring a bucket up to now from its stored text; none means full.
local function open_bucket(quota, level_key, stored, now)
  local capacity, rate = terms_of(quota, level_key)
  local level, at, jumped = capacity, now, false
  if stored and quota.known then
    level, at, jumped = read_level(stored, now, capacity, rate)
    if jumped then quota.jumps = quota.jumps + 1 end
  end
  return { quota = quota, capacity = capacity, rate = rate, level = level, at = at, jumped = jumped, taken = false }
end

-- The level of a quota's only bucket stays, and so does one that is never full (-1).
local function save_level(quota, level_key, level, at, full_us)
  if full_us >= 0 and #level_key > #quota.key then
    redis.call('SET', level_key, level_text(level, at), 'PX', lifetime(full_us))
  else
    redis.call('SET', level_key, level_text(level, at))
  end
end
