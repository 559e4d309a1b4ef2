-- refill: fill a quota to its capacity at once.
-- uses       fence
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:quota:<id>      hash    the definition
-- KEYS[3]    qf:{p0}:level:<id>      string  the level; a missing one means full
-- reply      1, or 0 when the quota is not defined
local lost = fenced(KEYS[1])
if lost then return lost end
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('DEL', KEYS[3])
return 1
