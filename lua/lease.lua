-- lease: hold a duty that one process at a time may do, or renew it.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:lease:<duty>    string  the holder's instance id, expiring
-- ARGV[1]    holder       instance id
-- ARGV[2]    ttl          milliseconds; 0 gives it up
-- reply      1 when held by the caller, else 0
local lost = fenced(KEYS[1])
if lost then return lost end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[2])
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
