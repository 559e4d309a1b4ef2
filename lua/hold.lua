-- hold: keep what is reserved of a provider's keys: it is under way. One whose lease has ended is reserved again; its units
-- were never given back.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    lease        microseconds until it ends unless it is kept again
-- ARGV[2+]   "<lease id> <key id> <micro-units>"
-- reply      how many had ended
local lost = fenced(KEYS[1])
if lost then return lost end
local now, lease = now_us(), whole(ARGV[1])
if not lease then return redis.error_reply('INVALID lease') end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', digits(now))
local ended = 0
for number = 2, #ARGV do
  ended = ended + redis.call('ZADD', KEYS[2], digits(now + lease), ARGV[number])
end
return ended
