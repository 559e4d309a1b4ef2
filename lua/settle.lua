-- settle: end a reservation of an upstream key by what was really spent, and note what its service said of the key. One
-- that had ended is charged what was spent once more, as a check may have given it back; the next check sets it right.
-- Repeating it gives nothing back.
-- uses       fence pool
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> what is known of it
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    lease id
-- ARGV[2]    key id
-- ARGV[3]    cost         micro-units that were reserved
-- ARGV[4]    spent        micro-units, integer 0 .. 9e15; more than the cost is taken too
-- ARGV[5]    linger       microseconds until the service shows what was spent: it stays reserved until then
-- ARGV[6]    verdict      - | invalid | exhausted | cooldown
-- ARGV[7]    rest         of cooldown, microseconds
-- ARGV[8]    print        of the secret that the verdict is about: it says nothing about another one
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
if linger > 0 and spent > 0 then
  redis.call('ZADD', KEYS[4], digits(now + linger), ARGV[1] .. '+ ' .. id .. ' ' .. digits(spent))
end
if not it then return known end
take_units(KEYS[3], id, it, known == 1 and spent - cost or spent)
if it.print == ARGV[8] then
  if verdict == 'exhausted' and redis.call('ZSCORE', KEYS[3], id) then redis.call('ZADD', KEYS[3], 'LT', '0', id) end
  believe(KEYS[3], id, it, verdict, now + rest)
end
save_key(KEYS[2], id, it)
return known
