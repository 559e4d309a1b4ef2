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
-- ARGV[1]    batch id     a number
-- ARGV[2]    cost         micro-units, integer 0 .. 9e15
-- reply      one text, JSON: [<batch id>, [<told> ...], [<other> ...]]. Told are, in order, [<so many requests>, what the
--            bucket of each held then in micro-units, reset_after_us as it is after the whole batch (-1 = never)]. Of
--            each refused request there is another: [its 1-based index, 0, why (limited|impossible|disabled|missing),
--            its index once more, retry_after_us (-1 = never)]. One text: a value of a reply takes as long as ten
--            numbers in it
local lost = fenced(KEYS[1])
if lost then return lost end
local batch, cost, now = ARGV[1], whole(ARGV[2]), now_us()
if not cost then return redis.error_reply('INVALID cost') end
local stored = redis.call('MGET', KEYS[2], unpack(KEYS, 5))
if is_reply(stored[1], batch) then return stored[1] end

local quota, reply, others = open_quota(KEYS[3]), {}, {}
-- The last bucket as it was found, since which slot, and what came of it. Buckets that are found alike are decided and
-- told alike: where keys are many, most are full.
local found_level, found_at, found_capacity, found_rate, since
local level, word, wait, reset, kept
for slot = 1, #KEYS - 4 do
  local level_key, text = KEYS[slot + 4], stored[slot + 1]
  local capacity, rate = terms_of(quota, level_key)
  local held, at, jumped = capacity, now, false
  if text and quota.known then held, at, jumped = read_level(text, now, capacity, rate) end
  if held ~= found_level or at ~= found_at or capacity ~= found_capacity or rate ~= found_rate then
    if since then reply[#reply + 1] = told(slot - since, level, reset) end
    found_level, found_at, found_capacity, found_rate, since = held, at, capacity, rate, slot
    word = verdict(quota, capacity, held, cost)
    wait = word == 'limited' and wait_for(cost, capacity, rate, held, at, now) or -1
    level = word == 'granted' and held - cost or held
    reset = quota.known and wait_for(capacity, capacity, rate, level, at, now) or -1
    kept = level_text(level, at)
  end
  if jumped then quota.jumps = quota.jumps + 1 end
  if word ~= 'granted' then
    refused(quota, cost, 1, word, wait)
    others[#others + 1] = string.format('[%d,0,"%s",%d,%d]', slot, word, slot, wait)
  elseif cost > 0 then
    quota.allowed = quota.allowed + 1
  end
  if level ~= held or jumped then keep_level(quota, level_key, kept, reset) end
end
reply[#reply + 1] = told(#KEYS - 3 - since, level, reset)
return answer(batch, { quota }, reply, others, now)
