-- allow: put an allowance's definition into force. What it has begins with the definition's total and is never changed
-- by a later one; an older version than the one in force changes nothing.
-- uses       fence bucket allowance journal
-- KEYS[1]    qf:{p0}:meta             hash    the marker
-- KEYS[2]    qf:{p0}:journal          stream
-- KEYS[3]    qf:{p0}:allowance:<id>   hash    the allowance
-- ARGV[1]    version        integer >= 1
-- ARGV[2]    kind           allowance | count | hybrid | time
-- ARGV[3]    total          micro-units, integer 0 .. 9e15; 0 for one that is not metered
-- ARGV[4]    expires        microseconds, 0 never
-- ARGV[5]    active         0 | 1
-- ARGV[6]    capacity       of its own pace, micro-units; - for none
-- ARGV[7]    refill         of its own pace, micro-units per second; - for none
-- ARGV[8]    event id       of the fact with which it begins
-- ARGV[9]    rest           " key=value ..." for the fact
-- reply      1 when in force, 0 when a newer version is
local lost = fenced(KEYS[1])
if lost then return lost end
local version, total, expires = whole(ARGV[1]), whole(ARGV[3]), whole(ARGV[4])
if not version or not total or not expires then return redis.error_reply('INVALID definition') end
local in_force = whole(redis.call('HGET', KEYS[3], 'version') or '0')
if in_force > version then return 0 end
local now = now_us()
local it = open_allowance(KEYS[3], now)
local begins = ARGV[2] ~= 'time' and (not it.seq or redis.call('HEXISTS', KEYS[3], 'remaining') == 0)
local facts = {}
if not it.seq then
  it.epoch, it.seq, it.allowed = 1, 0, 0
  -- A quota may be deleted and made again: its chain goes on in an epoch that no earlier one has had, ms since 2020.
  if ARGV[2] == 'allowance' then it.epoch = math.floor(now / 1000) - 1577836800000 end
end
if begins then
  it.remaining = 0
  post(it, facts, ARGV[8], 'init', total, ' total=' .. digits(total) .. ARGV[9], now)
end
append(KEYS[1], KEYS[2], facts)
redis.call('HSET', KEYS[3], 'kind', ARGV[2], 'epoch', digits(it.epoch), 'seq', digits(it.seq), 'expires_at_us', digits(expires),
  'active', ARGV[5] == '1' and '1' or '0', 'version', digits(version))
if begins then
  redis.call('HSET', KEYS[3], 'total', digits(total), 'remaining', digits(it.remaining), 'period_us', digits(now))
end
if whole(ARGV[6]) and whole(ARGV[7]) then
  redis.call('HSET', KEYS[3], 'capacity', ARGV[6], 'refill_rate', ARGV[7])
else
  redis.call('HDEL', KEYS[3], 'capacity', 'refill_rate', 'pace')
end
return 1
