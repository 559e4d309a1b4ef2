-- cursors: read how far tasks have come.
-- uses       fence
-- flags      no-writes
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2+]   qf:{p0}:task:<id>       hash    last_tick (the cursor)
-- reply      per task: last_tick in microseconds, 0 for a task without one
local lost = fenced(KEYS[1])
if lost then return lost end
local reply = {}
for number = 2, #KEYS do
  reply[#reply + 1] = redis.call('HGET', KEYS[number], 'last_tick') or '0'
end
return reply
