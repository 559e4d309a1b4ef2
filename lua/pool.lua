-- pool: change which upstream keys a provider's pool has, and what their service says they have left.
-- uses       fence pool
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> status, until, taken, sealed
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    act          define: it is in the pool; with another secret than before its balance is unknown
--                         reseal: its secret is the same, encrypted anew; one that was changed meanwhile stays
--                         forget: it is not in the pool
--                         mark: nothing changes; call it before the service is asked
--                         check: note what the service said
-- ARGV[2+]   per key: key id, sealed, mark, word, number; of `forget` and `mark` only the id counts, of `define` and
--            `reseal` also the sealed secret. `mark` is what the act `mark` told; of `reseal`, the secret as it was sealed before. Word and number of `check` are balance and micro-units,
--            cooldown and microseconds of rest, invalid and 0, or - and 0: nothing is known
-- reply      mark: the mark of each key, - for one that is not there; else how many keys were changed
local lost = fenced(KEYS[1])
if lost then return lost end
local act, now = ARGV[1], now_us()
redis.call('HLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
end_leases(KEYS[4], now)

local held = {}
if act == 'mark' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
    local id, units = string.match(member, '^%S+ (%S+) (%d+)$')
    held[id] = (held[id] or 0) + tonumber(units)
  end
end

local function define(id, it, sealed)
  if it and it.sealed == sealed then return 0 end
  redis.call('ZREM', KEYS[3], id)
  save_key(KEYS[2], id, { status = 'active', ends = 0, taken = it and it.taken or 0, sealed = sealed })
  return 1
end

local function reseal(id, it, sealed, before)
  if not it or it.sealed ~= before then return 0 end
  it.sealed = sealed
  save_key(KEYS[2], id, it)
  return 1
end

local function check(id, it, sealed, mark, word, number)
  if not it or it.sealed ~= sealed then return 0 end
  if word == 'balance' and mark then
    redis.call('ZADD', KEYS[3], digits(number - (it.taken - mark)), id)
    if it.status == 'invalid' then it.status, it.ends = 'active', 0 end
  elseif word == 'invalid' then
    it.status, it.ends = 'invalid', 0
  elseif word == 'cooldown' then
    it.status, it.ends = 'cooldown', math.max(it.ends, now + number)
  else
    return 0
  end
  save_key(KEYS[2], id, it)
  return 1
end

local changed, marks = 0, {}
for first = 2, #ARGV, 5 do
  local id, sealed, mark, word, number = unpack(ARGV, first, first + 4)
  local it = read_key(redis.call('HGET', KEYS[2], id))
  if act == 'define' then
    changed = changed + define(id, it, sealed)
  elseif act == 'reseal' then
    changed = changed + reseal(id, it, sealed, mark)
  elseif act == 'forget' then
    redis.call('ZREM', KEYS[3], id)
    changed = changed + redis.call('HDEL', KEYS[2], id)
  elseif act == 'mark' then
    marks[#marks + 1] = it and digits(it.taken - (held[id] or 0)) or '-'
  else
    changed = changed + check(id, it, sealed, tonumber(mark), word, whole(number) or 0)
  end
end
return act == 'mark' and marks or changed
