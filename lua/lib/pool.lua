-- Pools of upstream keys, one per provider: a hash key id -> "<status> <until> <taken> <born> <version> <print> <sealed>",
-- and a zset key id -> available micro-units of the keys whose balance is known. `taken` counts what was ever reserved of
-- the key since `born`, less what came back; a zset holds "<lease> <key id> <micro-units>" -> end of the lease of what is
-- reserved now. `version` orders what people change; `print` is its secret's fingerprint. A key that is off stays in the
-- hash, so that an older word cannot switch it on again.
--
-- What a service says of a balance is as of the moment it was asked. Of what was taken, all that had ended by then is in
-- it: that is the mark. So available = what it said - (taken now - mark), whatever happened meanwhile.

local function read_key(text)
  local status, ends, taken, born, version, print, sealed =
    string.match(text or '', '^(%l+) (%d+) (%-?%d+) (%d+) (%d+) (%S+) (.*)$')
  if not status then return nil end
  return {
    status = status, ends = tonumber(ends), taken = tonumber(taken), born = tonumber(born), version = tonumber(version),
    print = print, sealed = sealed,
  }
end

local function save_key(keys, id, it)
  redis.call('HSET', keys, id, string.format('%s %d %d %d %d %s %s',
    it.status, it.ends, it.taken, it.born, it.version, it.print, it.sealed))
end

-- A rest is over by itself.
local function is_usable(it, now)
  return it.status == 'active' or (it.status == 'cooldown' and it.ends <= now)
end

-- Take units, or give them back.
local function take_units(balance, id, it, units)
  it.taken = it.taken + units
  if units ~= 0 and redis.call('ZSCORE', balance, id) then redis.call('ZINCRBY', balance, digits(-units), id) end
end

-- A reservation that nobody keeps has ended: nobody knows whether it was spent, so it stays taken until the next check.
local function end_leases(held, now)
  redis.call('ZREMRANGEBYSCORE', held, '-inf', digits(now))
end

-- Believe what a service says of a key: nothing else may be spent of one that it does not know.
local function believe(balance, id, it, status, ends)
  if it.status == 'off' then return end
  if status == 'invalid' then
    it.status, it.ends = 'invalid', 0
    redis.call('ZREM', balance, id)
  elseif status == 'cooldown' and it.status ~= 'invalid' then
    it.status, it.ends = 'cooldown', math.max(it.ends, ends)
  end
end
