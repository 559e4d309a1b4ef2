-- pool: change which upstream keys a provider's pool has, and what their service says they have left.
-- uses       fence pool
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:upstream:<provider>         hash    key id -> what is known of it
-- KEYS[3]    qf:{p0}:upstream:<provider>:balance zset    key id -> available micro-units
-- KEYS[4]    qf:{p0}:upstream:<provider>:held    zset    lease, key id, units -> end of the lease
-- ARGV[1]    act          on: it may be used; with another print than before, or after it was off, its balance is unknown
--                         off: it may not
--                         drop: nobody knows it any more
--                         mark: nothing changes; call it before the service is asked
--                         check: note what the service said; of another life of Redis or of the key nothing is believed
-- ARGV[2+]   per key: key id, version, print, sealed, mark, word, number. `on` and `off` change nothing that a later version
--            has changed. `mark` is what the act `mark` told. Word and number of `check`: balance and micro-units,
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

local function switch(id, it, version, print, sealed)
  if it and version < it.version then return 0 end
  it = it or { status = 'off', ends = 0, taken = 0, born = now }
  if act == 'off' or it.status == 'off' or it.print ~= print then
    redis.call('ZREM', KEYS[3], id)
    it.status, it.ends = act == 'on' and 'active' or 'off', 0
  end
  it.version, it.print, it.sealed = version, print, sealed
  save_key(KEYS[2], id, it)
  return 1
end

local function generation(it)
  return incarnation .. '.' .. digits(it.born) .. ':'
end

local function check(id, it, print, mark, word, number)
  if not it or it.print ~= print or it.status == 'off' then return 0 end
  if word == 'balance' then
    local begins = generation(it)
    if string.sub(mark, 1, #begins) ~= begins then return 0 end
    redis.call('ZADD', KEYS[3], digits(number - (it.taken - tonumber(string.sub(mark, #begins + 1)))), id)
    if it.status == 'invalid' then it.status, it.ends = 'active', 0 end
  else
    believe(KEYS[3], id, it, word, now + number)
  end
  save_key(KEYS[2], id, it)
  return 1
end

local changed, marks = 0, {}
for first = 2, #ARGV, 7 do
  local id, version, print, sealed, mark, word, number = unpack(ARGV, first, first + 6)
  local it = read_key(redis.call('HGET', KEYS[2], id))
  if act == 'on' or act == 'off' then
    changed = changed + switch(id, it, whole(version) or 0, print, sealed)
  elseif act == 'drop' then
    redis.call('ZREM', KEYS[3], id)
    changed = changed + redis.call('HDEL', KEYS[2], id)
  elseif act == 'mark' then
    marks[#marks + 1] = it and generation(it) .. digits(it.taken - (held[id] or 0)) or '-'
  else
    changed = changed + check(id, it, print, mark, word, whole(number) or 0)
  end
end
return act == 'mark' and marks or changed
