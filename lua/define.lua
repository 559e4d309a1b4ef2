-- define: put a quota's definition into force. An older version than the one in force changes nothing.
-- A smaller capacity cuts the level; a larger one leaves it where it is.
-- uses       fence bucket opened
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:quotas          hash    name -> id, and " slots" where it has some
-- KEYS[3]    qf:{p0}:quota:<id>      hash    the definition
-- KEYS[4]    qf:{p0}:level:<id>      string  "<level in micro-units> <at_us>"
-- ARGV[1]    id           percent-encoded, as in the keys
-- ARGV[2]    name         percent-encoded
-- ARGV[3]    capacity     micro-units, integer 1 .. 9e15
-- ARGV[4]    refill       micro-units per second, integer 0 .. 9e15
-- ARGV[5]    enabled      0 | 1
-- ARGV[6]    version      integer >= 1
-- ARGV[7]    max_concurrent  how many may be under way at once, integer; 0 is no limit
-- reply      1 when in force, 0 when a newer version is
local lost = fenced(KEYS[1])
if lost then return lost end
local capacity, rate, version, most = whole(ARGV[3]), whole(ARGV[4]), whole(ARGV[6]), whole(ARGV[7])
if not capacity or capacity < 1 or not rate or not version or not most then
  return redis.error_reply('INVALID definition')
end
local now = now_us()
redis.call('HLEN', KEYS[2])
local in_force = whole(redis.call('HGET', KEYS[3], 'version') or '0')
if in_force > version then return 0 end
local quota = open_quota(KEYS[3])
local stored = redis.call('GET', KEYS[4])
if quota.known and (stored or capacity > quota.capacity) then
  -- A level that is missing was full at the old size: it must not now mean full at the new one.
  local bucket = open_bucket(quota, KEYS[4], stored, now)
  save_level(quota, KEYS[4], math.min(bucket.level, capacity), bucket.at, -1)
end
redis.call('HSET', KEYS[3], 'name', ARGV[2], 'capacity', digits(capacity), 'refill_rate', digits(rate),
  'enabled', ARGV[5] == '1' and '1' or '0', 'version', digits(version))
if most > 0 then
  redis.call('HSET', KEYS[3], 'max_concurrent', digits(most))
else
  redis.call('HDEL', KEYS[3], 'max_concurrent')
end
redis.call('HSET', KEYS[2], ARGV[2], most > 0 and ARGV[1] .. ' slots' or ARGV[1])
return 1
