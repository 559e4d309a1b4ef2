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
-- ARGV[2]    quotas       for each bucket the 1-based index of its quota; a single 1 when all have the same
-- ARGV[3]    requests     "<callers> <bucket> <cost>" for one bucket, which `callers` ask for the same cost, or
--                         "0 <n> <bucket> <cost> ..." for one caller who asks n buckets, all or none; a "<cost>" that
--                         stands alone is asked of each bucket by one caller, in their order. Buckets by 1-based
--                         index, costs in micro-units, integer 0 .. 9e15. Numbers in a text, as in the reply: an ARGV,
--                         or a value of a reply, takes as long as ten of them
-- reply      one text of numbers and words, six for each request: how many callers were granted, why the others were
--            not (granted|limited|impossible|disabled|missing), index of the bucket that decided, what it held then in
--            micro-units, retry_after_us, reset_after_us as it is after the whole batch (-1 = never)
local lost = fenced(KEYS[1])
if lost then return lost end
local batch, now = ARGV[1], now_us()

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

local quotas = {}
for number = 1, quotas_count do
  quotas[number] = open_quota(KEYS[1 + number * 2])
end

-- A bucket's key follows its quota's id: qf:{p0}:level:<id>:<key> is longer than qf:{p0}:quota:<id> by ":<key>".
local buckets = {}
local stored = redis.call('MGET', KEYS[2], unpack(KEYS, first_level))
local kept = stored[1]
if kept and string.sub(kept, 1, #batch + 1) == batch .. ' ' then return string.sub(kept, #batch + 2) end
for number = 1, buckets_count do
  local owner = owned == 1 and 1 or owners[number]
  local quota, quota_key = quotas[owner], KEYS[1 + owner * 2]
  if not quota then return redis.error_reply('INVALID quota of bucket ' .. number) end
  local key = string.sub(KEYS[first_level + number - 1], #quota_key + 2)
  buckets[number] = open_bucket(quota, quota_key, key, stored[number + 1], now)
end

-- What is hardest to overcome decides: a missing or disabled quota, then an impossible cost, then the longest wait,
-- then the bucket that would be left with the least. Returns its place among the `count` that begin at `first`.
local RANK = { granted = 0, limited = 1, impossible = 2, disabled = 3, missing = 4 }
local function judge(first, count)
  local worst, severest, heaviest
  for item = 0, count - 1 do
    local bucket, cost = buckets[asked[first + item * 2]], asked[first + item * 2 + 1]
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

local function take(bucket, cost, times)
  if cost == 0 then return end
  bucket.level = bucket.level - cost * times
  bucket.taken = true
  bucket.quota.allowed = bucket.quota.allowed + times
end

-- Lua writes whole numbers below 10^14 with all their digits by itself, in half the time.
local function shown(number)
  return number < 100000000000000 and number or digits(number)
end

local reply, told = {}, 0
local function tell(bucket, slot, cost, granted, others, word)
  local wait = 0
  if word == 'limited' then wait = wait_for(bucket, cost, now) elseif word ~= 'granted' then wait = -1 end
  local quota = bucket.quota
  if others > 0 and cost > 0 and quota.capacity then
    quota.limited, quota.word, quota.retry = quota.limited + others, word, wait
  end
  reply[told + 1], reply[told + 2], reply[told + 3] = granted, word, slot
  reply[told + 4], reply[told + 5] = shown(bucket.level), shown(wait)
  told = told + 6
  reply[told] = slot -- its reset takes this place below
end

-- Some callers who ask one bucket for the same cost.
local function decide_one(callers, slot, cost)
  local bucket = buckets[slot]
  if not bucket or not cost then return redis.error_reply('INVALID bucket or cost') end
  local word, granted = verdict(bucket, cost), 0
  if word == 'granted' then
    granted = callers
    if callers > 1 and cost > 0 then granted = math.min(callers, floor(bucket.level / cost)) end
    take(bucket, cost, granted)
    if granted < callers then word = verdict(bucket, cost) end
  end
  tell(bucket, slot, cost, granted, callers - granted, word)
end

-- One caller who asks `count` buckets, which begin at `first`.
local function decide_several(first, count)
  if not count or count < 1 then return redis.error_reply('INVALID request') end
  for item = 0, count - 1 do
    if not buckets[asked[first + item * 2]] or not asked[first + item * 2 + 1] then
      return redis.error_reply('INVALID bucket or cost')
    end
  end
  local worst = judge(first, count)
  local slot, cost = asked[first + worst * 2], asked[first + worst * 2 + 1]
  local word = verdict(buckets[slot], cost)
  if word == 'granted' then
    for item = 0, count - 1 do take(buckets[asked[first + item * 2]], asked[first + item * 2 + 1], 1) end
  end
  tell(buckets[slot], slot, cost, word == 'granted' and 1 or 0, word == 'granted' and 0 or 1, word)
end

local place = 1
if size == 1 then
  for slot = 1, buckets_count do decide_one(1, slot, asked[1]) end
  place = 2
end
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
  if wrong then return wrong end
end

for number = 1, quotas_count do
  if quotas[number].limited > 0 then redis.call('XLEN', KEYS[2 + number * 2]) end -- a wrong type fails before any write
end
local resets = {}
for number = 1, buckets_count do
  local bucket, level_key = buckets[number], KEYS[first_level + number - 1]
  local quota = bucket.quota
  local reset = quota.capacity and wait_for(bucket, bucket.capacity, now) or -1
  resets[number] = shown(reset)
  if bucket.taken or bucket.jumped then
    if bucket.keyed and reset >= 0 then
      local levels, count = quota.levels or {}, quota.saved or 0
      levels[count * 2 + 1], levels[count * 2 + 2] = level_key, level_text(bucket)
      quota.levels, quota.saved = levels, count + 1
      if reset > (quota.longest or 0) then quota.longest = reset end
    else
      save_bucket(bucket, level_key, reset)
    end
  end
end
for number = 1, quotas_count do
  local quota = quotas[number]
  if quota.levels then save_keyed(quota.levels, quota.saved, quota.longest or 0) end
end
for last = 6, told, 6 do reply[last] = resets[reply[last]] end
for number = 1, quotas_count do
  note_decisions(KEYS[1 + number * 2], KEYS[2 + number * 2], quotas[number], now)
end
local text = table.concat(reply, ' ')
redis.call('SET', KEYS[2], batch .. ' ' .. text, 'PX', 60000)
return text
