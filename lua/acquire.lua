-- acquire: take units if every bucket of a request has enough; otherwise take none. Cost 0 looks without taking.
-- Requests are decided in the order given; a refusal does not block the later ones. Callers who ask one bucket for the
-- same cost share a request and are granted first come, first served. A batch that was decided before is answered
-- again from the lane it was sent on, and takes nothing.
-- uses       fence bucket counters
-- KEYS[1]    qf:{p0}:meta                   hash    the marker
-- KEYS[2]    qf:{p0}:lane:<instance>:<n>    string  "<batch id> <reply>" of the last batch on this lane, kept 60 s
-- KEYS[3+]   first the quotas, two keys each:
--            qf:{p0}:quota:<id>             hash    the definition; counters allowed, limited, clock_jumps; overrides
--            qf:{p0}:refused:<id>           stream  the newest 1,000 refusals
--            then the buckets, one key each:
--            qf:{p0}:level:<id>[:<key>]     string  "<level in micro-units> <at_us>"; a keyed one expires when full
-- ARGV[1]    batch id
-- ARGV[2]    how many quotas there are
-- ARGV[3+]   per bucket: the 1-based index of its quota, then its key, percent-encoded, empty when it has none;
--            then per request: how many callers share it, how many buckets it asks, and for each of these
--            its 1-based index, then its cost in micro-units, integer 0 .. 9e15
-- reply      one text of numbers and words, six for each request: how many callers were granted, why the others were
--            not (granted|limited|impossible|disabled|missing), index of the bucket that decided, what it held then in
--            micro-units, retry_after_us, reset_after_us as it is after the whole batch (-1 = never)
local lost = fenced(KEYS[1])
if lost then return lost end
local batch = ARGV[1]
local kept = redis.call('GET', KEYS[2])
if kept and string.sub(kept, 1, #batch + 1) == batch .. ' ' then return string.sub(kept, #batch + 2) end

local now = now_us()
local quotas_count = whole(ARGV[2])
if not quotas_count or #KEYS < 2 + quotas_count * 2 then return redis.error_reply('INVALID count of quotas') end
local first_level = 3 + quotas_count * 2

local quotas = {}
for number = 1, quotas_count do
  quotas[number] = open_quota(KEYS[1 + number * 2])
  redis.call('XLEN', KEYS[2 + number * 2]) -- a wrong type fails here, before anything is written
end

local buckets, index = {}, 3
local stored = #KEYS >= first_level and redis.call('MGET', unpack(KEYS, first_level)) or {}
for number = 1, #KEYS - first_level + 1 do
  local owner = whole(ARGV[index])
  if not owner or quotas[owner] == nil then return redis.error_reply('INVALID quota of bucket ' .. number) end
  buckets[number] = open_bucket(quotas[owner], KEYS[1 + owner * 2], ARGV[index + 1], stored[number], now)
  index = index + 2
end

-- What is hardest to overcome decides: a missing or disabled quota, then an impossible cost, then the longest wait,
-- then the bucket that would be left with the least.
local RANK = { granted = 0, limited = 1, impossible = 2, disabled = 3, missing = 4 }
local function judge(slots, costs)
  local worst, severest, heaviest
  for item = 1, #slots do
    local bucket, cost = buckets[slots[item]], costs[item]
    local rank = RANK[verdict(bucket, cost)]
    local weight = 0
    if rank == 0 then
      weight = cost - bucket.level
    elseif rank == 1 then
      local wait = wait_for(bucket, cost, now)
      weight = wait < 0 and FOREVER or wait
    end
    if not worst or rank > severest or (rank == severest and weight > heaviest) then
      worst, severest, heaviest = item, rank, weight
    end
  end
  return worst
end

local function take(slots, costs, times)
  for item = 1, #slots do
    local bucket = buckets[slots[item]]
    if costs[item] > 0 then
      bucket.level = bucket.level - costs[item] * times
      bucket.taken = true
      bucket.quota.allowed = bucket.quota.allowed + times
    end
  end
end

local reply = {}
while index <= #ARGV do
  local callers, count = whole(ARGV[index]), whole(ARGV[index + 1])
  if not callers or callers < 1 or not count or count < 1 or (callers > 1 and count > 1) then
    return redis.error_reply('INVALID request')
  end
  local slots, costs = {}, {}
  for item = 1, count do
    local slot, cost = whole(ARGV[index + item * 2]), whole(ARGV[index + item * 2 + 1])
    if not slot or not buckets[slot] or not cost then return redis.error_reply('INVALID bucket or cost') end
    slots[item], costs[item] = slot, cost
  end
  index = index + 2 + count * 2
  local item = count == 1 and 1 or judge(slots, costs)
  local bucket, cost = buckets[slots[item]], costs[item]
  local word, granted = verdict(bucket, cost), 0
  if word == 'granted' then
    granted = callers
    if callers > 1 and cost > 0 then granted = math.min(callers, math.floor(bucket.level / cost)) end
    take(slots, costs, granted)
    if granted < callers then word = verdict(bucket, cost) end
  end
  local wait = word == 'granted' and 0 or -1
  if word == 'limited' then wait = wait_for(bucket, cost, now) end
  if granted < callers and cost > 0 and bucket.quota.capacity then
    local quota = bucket.quota
    quota.limited, quota.word, quota.retry = quota.limited + callers - granted, word, wait
  end
  reply[#reply + 1] = granted .. ' ' .. word .. ' ' .. slots[item] .. ' ' .. digits(bucket.level) .. ' ' .. digits(wait)
  reply[#reply + 1] = slots[item] -- its reset takes this place below
end

local resets = {}
for number = 1, #buckets do
  local bucket = buckets[number]
  local reset = bucket.quota.capacity and wait_for(bucket, bucket.capacity, now) or -1
  resets[number] = digits(reset)
  if bucket.taken or bucket.jumped then save_bucket(bucket, KEYS[first_level + number - 1], reset) end
end
for place = 2, #reply, 2 do reply[place] = resets[reply[place]] end
for number = 1, quotas_count do
  note_decisions(KEYS[1 + number * 2], KEYS[2 + number * 2], quotas[number], now)
end
local text = table.concat(reply, ' ')
redis.call('SET', KEYS[2], batch .. ' ' .. text, 'PX', 60000)
return text
