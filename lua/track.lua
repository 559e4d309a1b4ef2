-- track: make sure that every task has a cursor, and read it. A task seen for the first time starts now.
-- uses       fence
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2+]   qf:{p0}:task:<id>       hash    last_tick (the cursor), paused
-- ARGV[1+]   per task: paused in SQL, 0 | 1; taken over where Redis has none
-- reply      per task two values: last_tick in microseconds, paused 0 | 1
local lost = fenced(KEYS[1])
if lost then return lost end
local reply = {}
for number = 2, #KEYS do
  redis.call('HSETNX', KEYS[number], 'last_tick', digits(now_us()))
  redis.call('HSETNX', KEYS[number], 'paused', ARGV[number - 1])
  local fields = redis.call('HMGET', KEYS[number], 'last_tick', 'paused')
  reply[#reply + 1] = whole(fields[1])
  reply[#reply + 1] = fields[2] == '1' and 1 or 0
end
return reply
