-- cancel: end a run: one that waits ends here, one that runs is marked, and the daemon that has it ends it.
-- uses       fence slots journal
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:journal         stream
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease
-- KEYS[4]    qf:{p0}:due             zset    run id -> when to look at it again
-- KEYS[5]    qf:{p0}:cancels         zset    run id -> when somebody asked
-- KEYS[6]    qf:{p0}:run:<run id>    hash
-- KEYS[7]    qf:{p0}:quota:<id>      hash    waiting
-- KEYS[8]    qf:{p0}:slots:task:<id> zset
-- KEYS[9]    qf:{p0}:slots:quota:<id> zset
-- KEYS[10]   qf:{p0}:paced:<task id> set     runs that wait for their turn
-- ARGV[1]    run id
-- ARGV[2]    event id
-- ARGV[3]    fact         text of its end, for one that waits
-- reply      waiting (it ended) | running (it will) | gone
local lost = fenced(KEYS[1])
if lost then return lost end
local now, run = now_us(), ARGV[1]
redis.call('XLEN', KEYS[2])
if redis.call('ZSCORE', KEYS[3], run) then
  redis.call('ZADD', KEYS[5], 'NX', digits(now), run)
  return 'running'
end
if not redis.call('ZSCORE', KEYS[4], run) then return 'gone' end
append(KEYS[1], KEYS[2], { ARGV[2], ARGV[3] .. ' finished=' .. digits(now) })
if redis.call('HGET', KEYS[6], 'line') == '1' then
  local waiting = whole(redis.call('HGET', KEYS[7], 'waiting') or nil) or 0
  if waiting > 0 then redis.call('HSET', KEYS[7], 'waiting', digits(waiting - 1)) end
end
redis.call('ZREM', KEYS[4], run)
leave_slot(KEYS[8], run, KEYS[4], now)
leave_slot(KEYS[9], run, KEYS[4], now)
redis.call('SREM', KEYS[10], run)
redis.call('DEL', KEYS[6])
return 'waiting'
