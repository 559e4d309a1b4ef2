-- beat: a daemon says that its runs are alive: their leases are renewed, and the slots they hold.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:running         zset    run id -> end of its lease
-- KEYS[3+]   per run, three keys: qf:{p0}:run:<run id> hash, qf:{p0}:slots:task:<id>, qf:{p0}:slots:quota:<id> zset
-- ARGV[1]    lease        microseconds from now
-- ARGV[2+]   per run two values: run id, holder as in finish
-- reply      the places, from 1, of the runs that are not theirs any more: somebody closed them
local lost = fenced(KEYS[1])
if lost then return lost end
local lease = whole(ARGV[1])
if not lease then return redis.error_reply('INVALID lease') end
local lease_end, gone = digits(now_us() + lease), {}
for number = 1, (#ARGV - 1) / 2 do
  local run, holder = ARGV[number * 2], ARGV[number * 2 + 1]
  local fields = redis.call('HMGET', KEYS[number * 3], 'instance', 'slots')
  if redis.call('ZSCORE', KEYS[2], run) and (not fields[1] or fields[1] == holder) then
    redis.call('ZADD', KEYS[2], lease_end, run)
    local held = fields[2] or ''
    if string.find(held, 't', 1, true) then redis.call('ZADD', KEYS[number * 3 + 1], lease_end, run) end
    if string.find(held, 'q', 1, true) then redis.call('ZADD', KEYS[number * 3 + 2], lease_end, run) end
  else
    gone[#gone + 1] = number
  end
end
return gone
