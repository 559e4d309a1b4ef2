-- pick: reserve units of an upstream key: of the one that has the most left of those that may be used now. Repeating it
-- reserves again; what nobody keeps ends with its lease and comes back with the next check of the key.
-- uses       fence pool
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> what is known of it
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    lease id
-- ARGV[2]    cost         micro-units, integer 0 .. 9e15
-- ARGV[3]    lease        microseconds until it ends unless it is kept
-- ARGV[4+]   ids of keys that are not wanted
-- reply      picked, key id, print, sealed
--            none, microseconds until the first key has rested that has enough (- for none), and how many keys there are,
--            rest and have enough, cannot be used: they are off, invalid, or not checked yet
local lost = fenced(KEYS[1])
if lost then return lost end
local now, cost, lease = now_us(), whole(ARGV[2]), whole(ARGV[3])
if not cost or not lease then return redis.error_reply('INVALID cost') end
local keys = redis.call('HLEN', KEYS[2])
end_leases(KEYS[4], now)

local unwanted = {}
for number = 4, #ARGV do unwanted[ARGV[number]] = true end

local CHUNK = 32 -- keys with the most left that are looked at together; mostly the first is usable
local first, resting, rested = 0, 0, nil
while true do
  local ids = redis.call('ZRANGE', KEYS[3], '+inf', digits(cost), 'BYSCORE', 'REV', 'LIMIT', digits(first), digits(CHUNK))
  if #ids == 0 then break end
  for place, text in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
    local id, it = ids[place], read_key(text)
    if it and is_usable(it, now) and not unwanted[id] then
      it.status, it.ends = 'active', 0
      take_units(KEYS[3], id, it, cost)
      save_key(KEYS[2], id, it)
      if cost > 0 then redis.call('ZADD', KEYS[4], digits(now + lease), ARGV[1] .. ' ' .. id .. ' ' .. digits(cost)) end
      return { 'picked', id, it.print, it.sealed }
    elseif it and it.status == 'cooldown' and it.ends > now then
      resting, rested = resting + 1, math.min(rested or it.ends, it.ends)
    end
  end
  first = first + CHUNK
end
local unusable = keys - redis.call('ZCARD', KEYS[3])
return { 'none', rested and digits(rested - now) or '-', digits(keys), digits(resting), digits(unusable) }
