-- acquire: take the same cost from each of some buckets of one quota, if it has enough. Cost 0 looks without taking.
-- Each bucket is decided by itself, for one caller. A batch that was decided before is answered again from the lane it
-- was sent on, and takes nothing. What is not so simple is for acquire_mixed; this is nearly every call, and short: a
-- text that is run once in a while takes Redis twice as long as one that is run all the time.
-- uses       fence bucket levels counters answer
-- KEYS[1]    qf:{p0}:meta                   hash    the marker
-- KEYS[2]    qf:{p0}:lane:<instance>:<n>    string  the reply to the last batch on this lane, kept 60 s
-- KEYS[3+]   first the quota, two keys:
--            qf:{p0}:quota:<id>             hash    the definition; counters allowed, limited, clock_jumps; overrides
--            qf:{p0}:refused:<id>           stream  the newest 1,000 refusals
--            then the buckets, one key each:
--            qf:{p0}:level:<id>[:<key>]     string  "<level in micro-units> <at_us>"; a keyed one expires when full
-- ARGV[1]    batch id
-- ARGV[2]    cost         micro-units, integer 0 .. 9e15
-- reply      one text: "<batch id> <told> ...;<other> ...". Two numbers are told of each request: what the bucket held
--            then in micro-units, and reset_after_us as it is after the whole batch (-1 = never). Of a refused one
--            there are five others: its 1-based index, 0, why (limited|impossible|disabled|missing), its index once
--            more, retry_after_us (-1 = never). Numbers in a text: a value of a reply takes as long as ten of them
local lost = fenced(KEYS[1])
if lost then return lost end
local batch, cost, now = ARGV[1], whole(ARGV[2]), now_us()
if not cost then return redis.error_reply('INVALID cost') end
local stored = redis.call('MGET', KEYS[2], unpack(KEYS, 5))
if is_reply(stored[1], batch) then return stored[1] end

local quota, reply, others = open_quota(KEYS[3]), { batch }, {}
for slot = 1, #KEYS - 4 do
  local level_key, text = KEYS[slot + 4], stored[slot + 1]
  local capacity, rate = terms_of(quota, level_key)
  local level, at, changed = capacity, now, false
  if text and quota.known then level, at, changed = read_level(text, now, capacity, rate) end
  if changed then quota.jumps = quota.jumps + 1 end
  local word = verdict(quota, capacity, level, cost)
  if word ~= 'granted' then
    local wait = word == 'limited' and wait_for(cost, capacity, rate, level, at, now) or -1
    refused(quota, cost, 1, word, wait)
    others[#others + 1] = string.format('%d 0 %s %d %d', slot, word, slot, wait)
  elseif cost > 0 then
    level, changed, quota.allowed = level - cost, true, quota.allowed + 1
  end
  local reset = quota.known and wait_for(capacity, capacity, rate, level, at, now) or -1
  if changed then keep_level(quota, level_key, level, at, reset) end
  reply[slot + 1] = string.format('%d %d', level, reset)
end
return answer({ quota }, reply, others, now)
