-- finish: close runs: drop their leases and journal how they ended. Repeating it writes the same facts again,
-- which the store ignores. Facts that end something begun are always accepted.
-- uses       fence journal
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:journal         stream
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease
-- KEYS[4+]   qf:{p0}:run:<run id>    hash    one per item
-- ARGV[1+]   per item, four values:
--            run id
--            claim        held (the caller ran it) | expired (only if its lease has run out)
--            event id
--            fact         text of the journal fact
-- reply      per item 1 if the run was open, else 0
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()
local runs, facts, run_keys, ended, reply = {}, {}, {}, {}, {}
redis.call('XLEN', KEYS[2])
redis.call('HGET', KEYS[1], 'backlog')

for number = 1, #KEYS - 3 do runs[number] = ARGV[number * 4 - 3] end
local lease_ends = redis.call('ZMSCORE', KEYS[3], unpack(runs))
for number, run in ipairs(runs) do
  local claim, lease_end = ARGV[number * 4 - 2], tonumber(lease_ends[number] or nil)
  local expired = lease_end ~= nil and lease_end < now
  if claim == 'held' or expired then
    facts[#facts + 1] = ARGV[number * 4 - 1]
    facts[#facts + 1] = ARGV[number * 4]
    run_keys[#run_keys + 1] = KEYS[number + 3]
    ended[#ended + 1] = run
  end
  reply[number] = lease_end ~= nil and (claim == 'held' or expired) and 1 or 0
end

if #facts > 0 then
  redis.call('DEL', unpack(run_keys))
  redis.call('ZREM', KEYS[3], unpack(ended))
  append(KEYS[1], KEYS[2], facts)
end
return reply
