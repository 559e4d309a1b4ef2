-- acquire_mixed: take units if every bucket of a request has enough; otherwise take none. Cost 0 looks without taking.
-- Requests are decided in the order given; a refusal does not block the later ones. Callers who ask one bucket for the
-- same cost share a request and are granted first come, first served. A batch that was decided before is answered
-- again from the lane it was sent on, and takes nothing.
-- uses       fence bucket opened levels counters answer
-- KEYS[1]    qf:{p0}:meta                   hash    the marker
-- KEYS[2]    qf:{p0}:lane:<instance>:<n>    string  the reply to the last batch on this lane, kept 60 s
-- KEYS[3+]   first the quotas, two keys each:
--            qf:{p0}:quota:<id>             hash    the definition; counters allowed, limited, clock_jumps; overrides
--            qf:{p0}:refused:<id>           stream  the newest 1,000 refusals
--            then the buckets, one key each:
--            qf:{p0}:level:<id>[:<key>]     string  "<level in micro-units> <at_us>"; a keyed one expires when full
-- ARGV[1]    batch id     a number
-- ARGV[2]    quotas       for each bucket the 1-based index of its quota; a single 1 when all have the same
-- ARGV[3]    requests     "<callers> <bucket> <cost>" for one bucket, which `callers` ask for the same cost, or
--                         "0 <n> <bucket> <cost> ..." for one caller who asks n buckets, all or none. Buckets by 1-based
--                         index, costs in micro-units, integer 0 .. 9e15. Numbers in one text: an ARGV takes as long as
--                         ten of them
-- reply      one text, JSON: [<batch id>, [<told> ...], [<other> ...]]. Told is, of each request in order, [1, what the
--            bucket held then in micro-units, reset_after_us as it is after the whole batch (-1 = never)]. Of one that
--            was not granted to all of its callers, or has several buckets, there is another: [its 1-based index, how
--            many callers were granted, why the rest were not (granted|limited|impossible|disabled|missing), index of
--            the bucket that decided, retry_after_us (-1 = never)]
local lost = fenced(KEYS[1])
if lost then return lost end
local batch, now = ARGV[1], now_us()
local reply, others = {}, {}

-- The numbers of a text; nil if one is not a whole number up to 9e15.
local function numbers(text)
  if type(text) ~= 'string' or string.find(text, '[^%d ]') then return nil, 0 end
  local found, count = {}, 0
  for word in string.gmatch(text, '%d+') do
    local number = tonumber(word)
    if number > 9000000000000000 then return nil, 0 end
    count = count + 1
    found[count] = number
  end
  return found, count
end

local function verdict_on(bucket, cost) return verdict(bucket.quota, bucket.capacity, bucket.level, cost) end
local function wait_of(bucket, units)
  return wait_for(units, bucket.capacity, bucket.rate, bucket.level, bucket.at, now)
end

-- What is hardest to overcome decides: a missing or disabled quota, then an impossible cost, then the longest wait,
-- then the bucket that would be left with the least. Returns its place among the parts of a request.
local function hardest(parts)
  local RANK = { granted = 0, limited = 1, impossible = 2, disabled = 3, missing = 4 }
  local worst, severest, heaviest
  for place, part in ipairs(parts) do
    local rank, weight = RANK[verdict_on(part.bucket, part.cost)], 0
    if rank == 0 then
      weight = part.cost - part.bucket.level
    elseif rank == 1 then
      local wait = wait_of(part.bucket, part.cost)
      weight = wait < 0 and FOREVER or wait
    end
    if not worst or rank > severest or (rank == severest and weight > heaviest) then
      worst, severest, heaviest = place, rank, weight
    end
  end
  return worst
end

local owners, owned = numbers(ARGV[2])
local asked, size = numbers(ARGV[3])
if not owners or not asked then return redis.error_reply('INVALID numbers') end
local quotas_count = 0
for place = 1, owned do
  if owners[place] > quotas_count then quotas_count = owners[place] end
end
local first_level = 3 + quotas_count * 2
local buckets_count = #KEYS - first_level + 1
if quotas_count < 1 or buckets_count < 1 or (owned > 1 and owned ~= buckets_count) then
  return redis.error_reply('INVALID quotas')
end
local stored = redis.call('MGET', KEYS[2], unpack(KEYS, first_level))
if is_reply(stored[1], batch) then return stored[1] end

local quotas, buckets = {}, {}
for number = 1, quotas_count do
  quotas[number] = open_quota(KEYS[1 + number * 2])
end
for slot = 1, buckets_count do
  local quota = quotas[owned == 1 and 1 or owners[slot]]
  if not quota then return redis.error_reply('INVALID quota of bucket ' .. slot) end
  buckets[slot] = open_bucket(quota, KEYS[first_level + slot - 1], stored[slot + 1], now)
end

local function take(bucket, cost, times)
  if cost == 0 then return end
  bucket.level, bucket.taken = bucket.level - cost * times, true
  bucket.quota.allowed = bucket.quota.allowed + times
end

local decided = {}
local function tell(slot, cost, granted, missed, word)
  local bucket = buckets[slot]
  decided[#decided + 1] = { slot, bucket.level }
  if not word then return end
  local wait = 0
  if word == 'limited' then wait = wait_of(bucket, cost) elseif word ~= 'granted' then wait = -1 end
  refused(bucket.quota, cost, missed, word, wait)
  others[#others + 1] = string.format('[%d,%d,"%s",%d,%d]', #decided, granted, word, slot, wait)
end

-- Some callers who ask one bucket for the same cost.
local function decide_one(callers, slot, cost)
  local bucket, granted = buckets[slot], 0
  if not bucket or not cost then return 'INVALID bucket or cost' end
  if verdict_on(bucket, cost) == 'granted' then
    granted = cost > 0 and math.min(callers, math.floor(bucket.level / cost)) or callers
    take(bucket, cost, granted)
  end
  tell(slot, cost, granted, callers - granted, granted < callers and verdict_on(bucket, cost))
end

-- One caller who asks `count` buckets, which begin at `first`.
local function decide_several(first, count)
  if not count or count < 1 then return 'INVALID request' end
  local parts = {}
  for item = 1, count do
    local slot, cost = asked[first + item * 2 - 2], asked[first + item * 2 - 1]
    if not buckets[slot] or not cost then return 'INVALID bucket or cost' end
    parts[item] = { slot = slot, bucket = buckets[slot], cost = cost }
  end
  local worst = parts[hardest(parts)]
  local word = verdict_on(worst.bucket, worst.cost)
  if word == 'granted' then
    for _, part in ipairs(parts) do take(part.bucket, part.cost, 1) end
  end
  tell(worst.slot, worst.cost, word == 'granted' and 1 or 0, word == 'granted' and 0 or 1, word)
end

local place = 1
while place <= size do
  local callers, wrong = asked[place], nil
  if callers > 0 then
    wrong = decide_one(callers, asked[place + 1], asked[place + 2])
    place = place + 3
  else
    local count = asked[place + 1]
    wrong = decide_several(place + 2, count)
    place = place + 2 + (count or 0) * 2
  end
  if wrong then return redis.error_reply(wrong) end
end

local resets = {}
for slot, bucket in ipairs(buckets) do
  local reset = bucket.quota.known and wait_of(bucket, bucket.capacity) or -1
  resets[slot] = reset
  if bucket.taken or bucket.jumped then
    keep_level(bucket.quota, KEYS[first_level + slot - 1], level_text(bucket.level, bucket.at), reset)
  end
end
for request, item in ipairs(decided) do
  reply[request] = told(1, item[2], resets[item[1]])
end
return answer(batch, quotas, reply, others, now)
