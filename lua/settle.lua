-- settle: end a reservation of an upstream key by what was really spent, and note what its service said of the key.
-- Repeating it, or being late, gives nothing back.
-- uses       fence pool
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> status, until, taken, sealed
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    lease id
-- ARGV[2]    key id
-- ARGV[3]    cost         micro-units that were reserved
-- ARGV[4]    spent        micro-units, integer 0 .. 9e15; more than the cost is taken too
-- ARGV[5]    linger       microseconds until the service shows what was spent: it stays reserved until then
-- ARGV[6]    verdict      - | invalid | exhausted | cooldown
-- ARGV[7]    rest         of cooldown, microseconds
-- ARGV[8]    sealed       the secret that the verdict is about: it says nothing about another one
-- reply      1 when the reservation was there, else 0
local lost = fenced(KEYS[1])
if lost then return lost end
local now, id, cost, spent = now_us(), ARGV[2], whole(ARGV[3]), whole(ARGV[4])
local linger, verdict, rest = whole(ARGV[5]), ARGV[6], whole(ARGV[7])
if not cost or not spent or not linger or not rest then return redis.error_reply('INVALID settlement') end
local it = read_key(redis.call('HGET', KEYS[2], id))
redis.call('ZCARD', KEYS[3])
end_leases(KEYS[4], now)

local known = redis.call('ZREM', KEYS[4], ARGV[1] .. ' ' .. id .. ' ' .. digits(cost))
local more = spent - cost
if known == 0 then more = math.max(0, more) end -- of what has ended, a check may have told already what came of it
if it then
  if linger > 0 and spent > 0 and known == 1 then
    redis.call('ZADD', KEYS[4], digits(now + linger), ARGV[1] .. '+ ' .. id .. ' ' .. digits(spent))
  end
  it.taken = it.taken + more
  if more ~= 0 and redis.call('ZSCORE', KEYS[3], id) then redis.call('ZINCRBY', KEYS[3], digits(-more), id) end
  if it.sealed == ARGV[8] then
    if verdict == 'invalid' then
      it.status, it.ends = 'invalid', 0
    elseif verdict == 'cooldown' and it.status ~= 'invalid' then
      it.status, it.ends = 'cooldown', math.max(it.ends, now + rest)
    elseif verdict == 'exhausted' and redis.call('ZSCORE', KEYS[3], id) then
      redis.call('ZADD', KEYS[3], 'LT', '0', id)
    end
  end
  save_key(KEYS[2], id, it)
end
return known
