-- beat: a daemon says that its runs are alive: their leases are renewed.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:running         zset    run id -> end of its lease
-- ARGV[1]    lease        microseconds from now
-- ARGV[2+]   run ids
-- reply      the run ids that are not open any more: somebody closed them
local lost = fenced(KEYS[1])
if lost then return lost end
local lease = whole(ARGV[1])
if not lease then return redis.error_reply('INVALID lease') end
local lease_end, gone = digits(now_us() + lease), {}
for index = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[2], ARGV[index]) then
    redis.call('ZADD', KEYS[2], lease_end, ARGV[index])
  else
    gone[#gone + 1] = ARGV[index]
  end
end
return gone
