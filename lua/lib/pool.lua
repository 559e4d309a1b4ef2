-- Pools of upstream keys, one per provider: a hash key id -> "<status> <until> <taken> <sealed>", and a zset key id ->
-- available micro-units of the keys whose balance is known. `taken` counts what this pool ever reserved of the key, less
-- what came back; a zset holds "<lease> <key id> <micro-units>" -> end of the lease of what is reserved now.
--
-- What a service says of a balance is as of the moment it was asked. Of what was taken, all that had ended by then is in
-- it: that is the mark. So available = what it said - (taken now - mark), whatever happened meanwhile.

local function read_key(text)
  local status, ends, taken, sealed = string.match(text or '', '^(%l+) (%d+) (%-?%d+) (.*)$')
  if not status then return nil end
  return { status = status, ends = tonumber(ends), taken = tonumber(taken), sealed = sealed }
end

local function save_key(keys, id, it)
  redis.call('HSET', keys, id, it.status .. ' ' .. digits(it.ends) .. ' ' .. digits(it.taken) .. ' ' .. it.sealed)
end

-- A rest is over by itself.
local function is_usable(it, now)
  return it.status == 'active' or (it.status == 'cooldown' and it.ends <= now)
end

-- A reservation that nobody keeps has ended: nobody knows whether it was spent, so it stays taken until the next check.
local function end_leases(held, now)
  redis.call('ZREMRANGEBYSCORE', held, '-inf', digits(now))
end
