-- track: make sure that every task has a cursor, and read it. A task seen for the first time starts now, and so does
-- one whose schedule was changed: moments of the new expression that lie in the past were never promised.
-- uses       fence
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2+]   qf:{p0}:task:<id>       hash    last_tick (the cursor), paused
-- ARGV[1]    from_now     0 | 1: move the cursors up to now
-- ARGV[2+]   per task: paused in SQL, 0 | 1; taken over where Redis has none
-- reply      per task two values: last_tick in microseconds, paused 0 | 1
local lost = fenced(KEYS[1])
if lost then return lost end
local reply, now = {}, digits(now_us())
for number = 2, #KEYS do
  redis.call('HSETNX', KEYS[number], 'last_tick', now)
  redis.call('HSETNX', KEYS[number], 'paused', ARGV[number])
  if ARGV[1] == '1' and whole(redis.call('HGET', KEYS[number], 'last_tick')) < whole(now) then
    redis.call('HSET', KEYS[number], 'last_tick', now)
  end
  local fields = redis.call('HMGET', KEYS[number], 'last_tick', 'paused')
  reply[#reply + 1] = whole(fields[1])
  reply[#reply + 1] = fields[2] == '1' and 1 or 0
end
return reply
