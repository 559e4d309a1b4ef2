-- finish: close runs: drop their leases, free their slots, and journal how they ended; or put them back into `due`, to be
-- tried again. Repeating it writes the same facts again, which the store ignores. Facts that end something begun are
-- always accepted.
-- uses       fence slots journal
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:journal         stream
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease
-- KEYS[4]    qf:{p0}:due             zset    run id -> when to look at it again
-- KEYS[5]    qf:{p0}:cancels         zset    runs that somebody wants to end
-- KEYS[6+]   per item, three keys: qf:{p0}:run:<run id> hash, qf:{p0}:slots:task:<id>, qf:{p0}:slots:quota:<id> zset
-- ARGV[1+]   per item, seven values:
--            run id
--            holder       who ran it: "<instance>", or "<instance>#<attempt>" from the second on; "-": its lease must
--                         have run out, whoever that was
--            event id
--            fact         text of the journal fact
--            again        "-", or "<due, us> <paid>": try again then; paid 1: its units are taken already
--            opened       the fact that opens it again, without status
--            cancelled    the fact that ends it instead if somebody has cancelled it
-- reply      per item 1 if the run was open, else 0
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()
local runs, facts, reply = {}, {}, {}
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[4])
redis.call('HGET', KEYS[1], 'backlog')

local items_count = (#KEYS - 5) / 3
for number = 1, items_count do runs[number] = ARGV[number * 7 - 6] end
local lease_ends = redis.call('ZMSCORE', KEYS[3], unpack(runs))
local ended, run_keys = {}, {}

local function put_back(number, run, key)
  local due, paid = string.match(ARGV[number * 7 - 2], '^(%d+) ([01])$')
  redis.call('DEL', key)
  redis.call('HSET', key, 'fact', ARGV[number * 7 - 1], 'paced', '0', 'paid', paid, 'line', '0')
  redis.call('ZADD', KEYS[4], digits(whole(due)), run)
end

for number, run in ipairs(runs) do
  local first = number * 7 - 6
  local holder, lease_end = ARGV[first + 1], tonumber(lease_ends[number] or nil)
  local key, again = KEYS[number * 3 + 3], ARGV[first + 4] ~= '-'
  local fields = redis.call('HMGET', key, 'fact', 'instance', 'slots')
  local is_theirs = fields[2] and fields[2] ~= holder -- it was lost, and is run again by somebody else
  local is_open = lease_end ~= nil
  if holder == '-' then is_open = is_open and lease_end < now else is_open = is_open and not is_theirs end
  -- The end of a run that is closed already is written again, as its answer may have been lost: the store ignores it.
  -- One that waits for another attempt is not touched.
  local is_cancelled = again and redis.call('ZSCORE', KEYS[5], run)
  if is_open or (holder ~= '-' and not fields[1] and not again) then
    facts[#facts + 1] = ARGV[first + 2]
    facts[#facts + 1] = is_cancelled and ARGV[number * 7] or ARGV[first + 3]
  end
  if is_open then
    ended[#ended + 1] = run
    local held = fields[3] or ''
    if string.find(held, 't', 1, true) then leave_slot(KEYS[number * 3 + 4], run, KEYS[4], now) end
    if string.find(held, 'q', 1, true) then leave_slot(KEYS[number * 3 + 5], run, KEYS[4], now) end
    if again and not is_cancelled then put_back(number, run, key) else run_keys[#run_keys + 1] = key end
  end
  reply[number] = is_open and 1 or 0
end

if #run_keys > 0 then redis.call('DEL', unpack(run_keys)) end
if #ended > 0 then
  redis.call('ZREM', KEYS[3], unpack(ended))
  redis.call('ZREM', KEYS[5], unpack(ended))
end
append(KEYS[1], KEYS[2], facts)
return reply
