-- track: make sure that every task has a cursor, and read it. A task seen for the first time starts now, and so does
-- one whose schedule was changed: moments of the new expression that lie in the past were never promised.
-- uses       fence
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2+]   qf:{p0}:task:<id>       hash    last_tick (the cursor), paused, skip, rate
-- ARGV[1]    from_now     0 | 1: move the cursors up to now
-- ARGV[2+]   per task three values:
--            paused in SQL, 0 | 1, and the moment that is not to run, microseconds, 0 for none: taken over where Redis
--            has none
--            rate         "<interval us> <burst>", or "-" for none
-- reply      per task two values: last_tick in microseconds, paused 0 | 1
local lost = fenced(KEYS[1])
if lost then return lost end
local reply, now = {}, digits(now_us())
for number = 2, #KEYS do
  local key, first = KEYS[number], number * 3 - 4
  redis.call('HSETNX', key, 'last_tick', now)
  redis.call('HSETNX', key, 'paused', ARGV[first])
  redis.call('HSETNX', key, 'skip', ARGV[first + 1])
  if ARGV[first + 2] == '-' then redis.call('HDEL', key, 'rate') else redis.call('HSET', key, 'rate', ARGV[first + 2]) end
  if ARGV[1] == '1' and whole(redis.call('HGET', key, 'last_tick')) < whole(now) then
    redis.call('HSET', key, 'last_tick', now)
  end
  local fields = redis.call('HMGET', key, 'last_tick', 'paused')
  reply[#reply + 1] = whole(fields[1])
  reply[#reply + 1] = fields[2] == '1' and 1 or 0
end
return reply
