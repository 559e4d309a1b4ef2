-- Slots: how many may run at the same time, of a task or under a quota. One zset each: holder -> end of its lease in
-- microseconds; who waits for a slot stands behind, at QUEUE + the moment it came. Leases end by themselves, so a
-- holder that died frees its slot.

local QUEUE = 4000000000000000 -- later than any lease (year 2096)
local HANDED = 2000000 -- a slot that was handed over and is not taken in this time goes to the next: its waiter died

local function slots_held(key, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', digits(now))
  return redis.call('ZCOUNT', key, '-inf', '(' .. digits(QUEUE))
end

local function slots_awaited(key)
  return redis.call('ZCOUNT', key, digits(QUEUE), '+inf')
end

local function take_slot(key, holder, lease_end)
  redis.call('ZADD', key, digits(lease_end), holder)
end

local function await_slot(key, holder, now)
  redis.call('ZADD', key, 'NX', digits(QUEUE + now), holder)
end

-- Slots are taken strictly in the order of arrival, by runs and by calls; calls are not in `due` and look for themselves.
-- Whether this holder has one, or may take one now: a free slot is handed to whoever is first in line.
local function has_slot(key, holder, most, due, now)
  local free = math.max(0, most - slots_held(key, now))
  local first = free > 0 and redis.call('ZRANGE', key, digits(QUEUE), '+inf', 'BYSCORE', 'LIMIT', 0, digits(free)) or {}
  for _, waiter in ipairs(first) do
    take_slot(key, waiter, now + HANDED)
    if waiter ~= holder then redis.call('ZADD', due, 'XX', digits(now), waiter) end
  end
  local score = tonumber(redis.call('ZSCORE', key, holder) or nil)
  if score then return score < QUEUE end
  return free > #first
end

-- Leave a slot, or its line. The first in line is due at once, and keeps its place: it takes the slot itself.
local function leave_slot(key, holder, due, now)
  if redis.call('ZREM', key, holder) == 0 then return end
  local first = redis.call('ZRANGE', key, digits(QUEUE), '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
  if first then redis.call('ZADD', due, 'XX', digits(now), first) end
end
