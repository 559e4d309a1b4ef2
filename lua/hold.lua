-- hold: keep what is reserved of a provider's keys: it is under way. One whose lease has ended is reserved anew: a check
-- may have taken it for spent or given it back meanwhile. The next check sets right what was taken twice.
-- uses       fence pool
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> what is known of it
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    lease        microseconds until it ends unless it is kept again
-- ARGV[2+]   "<lease id> <key id> <micro-units>"
-- reply      how many had ended
local lost = fenced(KEYS[1])
if lost then return lost end
local now, lease = now_us(), whole(ARGV[1])
if not lease then return redis.error_reply('INVALID lease') end
redis.call('HLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
end_leases(KEYS[4], now)
local ended = 0
for number = 2, #ARGV do
  if redis.call('ZADD', KEYS[4], digits(now + lease), ARGV[number]) == 1 then
    ended = ended + 1
    local id, units = string.match(ARGV[number], '^%S+ (%S+) (%d+)$')
    local it = read_key(redis.call('HGET', KEYS[2], id))
    if it then
      take_units(KEYS[3], id, it, tonumber(units))
      save_key(KEYS[2], id, it)
    end
  end
end
return ended
