-- acquire: take units if every bucket of a request has enough; otherwise take none. Cost 0 looks without taking.
-- Requests are decided in the order given; a refusal does not block the later ones. Callers who ask one bucket for the
-- same cost share a request and are granted first come, first served. A batch that was decided before is answered
-- again from the lane it was sent on, and takes nothing.
-- uses       fence bucket counters
-- KEYS[1]    qf:{p0}:meta                   hash    the marker
-- KEYS[2]    qf:{p0}:lane:<instance>:<n>    string  the reply to the last batch on this lane, kept 60 s
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
-- reply      one text: "<batch id> <told> ...;<other> ...". Two numbers are told of each request: what the bucket held
--            then in micro-units, and reset_after_us as it is after the whole batch (-1 = never). Of a request that is
--            more than one bucket's, or was not granted to all of its callers, there are five others: its 1-based index,
--            how many callers were granted, why the rest were not (granted|limited|impossible|disabled|missing), index
--            of the bucket that decided, retry_after_us (-1 = never)
-- The state of a bucket is in arrays and not in a table of its own, and text is made with as few calls as there can be: a
-- decision among 64 on as many buckets took 4.4 us of Lua before, and takes 2.9 us now.
local lost = fenced(KEYS[1])
if lost then return lost end
local batch, now = ARGV[1], now_us()
local find, format = string.find, string.format

-- The numbers of a text; nil if one is not a whole number up to 9e15.
local function numbers(text)
  if type(text) ~= 'string' or find(text, '[^%d ]') then return nil, 0 end
  local found, count = {}, 0
  for word in string.gmatch(text, '%d+') do
    local number = tonumber(word)
    if number > 9000000000000000 then return nil, 0 end
    count = count + 1
    found[count] = number
  end
  return found, count
end

local same = whole(ARGV[3]) -- of each bucket
local asked, size, owners, owned, quotas_count = nil, 0, nil, 1, 1
if not same then asked, size = numbers(ARGV[3]) end
if ARGV[2] ~= '1' then
  owners, owned = numbers(ARGV[2])
  for place = 1, owned do
    if owners[place] > quotas_count then quotas_count = owners[place] end
  end
end
if not (same or asked) or owned < 1 then return redis.error_reply('INVALID numbers') end
local first_level = 3 + quotas_count * 2
local buckets_count = #KEYS - first_level + 1
if buckets_count < 1 or (owned > 1 and owned ~= buckets_count) then return redis.error_reply('INVALID quotas') end

local stored = redis.call('MGET', KEYS[2], unpack(KEYS, first_level))
if stored[1] and find(stored[1], batch .. ' ', 1, true) == 1 then return stored[1] end
local quotas = {}
for number = 1, quotas_count do
  quotas[number] = open_quota(KEYS[1 + number * 2])
end

-- The buckets, by slot.
local quota_of, capacities, rates, levels, ats, changed = {}, {}, {}, {}, {}, {}
for slot = 1, buckets_count do
  local quota, text = quotas[owners and owners[slot] or 1], stored[slot + 1]
  if not quota then return redis.error_reply('INVALID quota of bucket ' .. slot) end
  local capacity, rate = quota.capacity, quota.rate
  if quota.overrides then capacity, rate = terms_of(quota, KEYS[first_level + slot - 1]) end
  local level, at = capacity, now
  if text and quota.known then
    local jumped
    level, at, jumped = read_level(text, now, capacity, rate)
    if jumped then quota.jumps, changed[slot] = quota.jumps + 1, true end
  end
  quota_of[slot], capacities[slot], rates[slot], levels[slot], ats[slot] = quota, capacity, rate, level, at
end

local function wait_of(slot, units)
  return wait_for(units, capacities[slot], rates[slot], levels[slot], ats[slot], now)
end

local function take(slot, cost, times)
  if cost == 0 then return end
  local quota = quota_of[slot]
  levels[slot], changed[slot] = levels[slot] - cost * times, true
  quota.allowed = quota.allowed + times
end

local told, slot_of, held, others = 0, {}, {}, {}
local function tell(slot)
  told = told + 1
  slot_of[told], held[told] = slot, levels[slot]
end

-- What is told besides: how many were granted, and why `refused` were not.
local function explain(slot, cost, granted, refused, word)
  local wait, quota = 0, quota_of[slot]
  if word == 'limited' then wait = wait_of(slot, cost) elseif word ~= 'granted' then wait = -1 end
  if refused > 0 and cost > 0 and quota.known then
    quota.limited, quota.word, quota.retry = quota.limited + refused, word, wait
  end
  others[#others + 1] = format('%d %d %s %d %d', told, granted, word, slot, wait)
end

-- Some callers who ask one bucket for the same cost.
local function decide_one(callers, slot, cost)
  local quota, level = quota_of[slot], levels[slot]
  if not quota or not cost then return redis.error_reply('INVALID bucket or cost') end
  local word, granted = verdict(quota, capacities[slot], level, cost), 0
  if word == 'granted' then
    granted = callers
    if callers > 1 and cost > 0 then granted = math.min(callers, floor(level / cost)) end
    take(slot, cost, granted)
  end
  tell(slot)
  if granted < callers then
    if granted > 0 then word = verdict(quota, capacities[slot], levels[slot], cost) end
    explain(slot, cost, granted, callers - granted, word)
  end
end

if same then
  for slot = 1, buckets_count do decide_one(1, slot, same) end
else
  -- What is hardest to overcome decides: a missing or disabled quota, then an impossible cost, then the longest wait,
  -- then the bucket that would be left with the least. Returns its place among the `count` that begin at `first`.
  local function judge(first, count)
    local RANK = { granted = 0, limited = 1, impossible = 2, disabled = 3, missing = 4 }
    local worst, severest, heaviest
    for item = 0, count - 1 do
      local slot, cost = asked[first + item * 2], asked[first + item * 2 + 1]
      local rank = RANK[verdict(quota_of[slot], capacities[slot], levels[slot], cost)]
      local weight = 0
      if rank == 0 then
        weight = cost - levels[slot]
      elseif rank == 1 then
        local wait = wait_of(slot, cost)
        weight = wait < 0 and FOREVER or wait
      end
      if not worst or rank > severest or (rank == severest and weight > heaviest) then
        worst, severest, heaviest = item, rank, weight
      end
    end
    return worst
  end

  -- One caller who asks `count` buckets, which begin at `first`.
  local function decide_several(first, count)
    if not count or count < 1 then return redis.error_reply('INVALID request') end
    for item = 0, count - 1 do
      if not quota_of[asked[first + item * 2]] or not asked[first + item * 2 + 1] then
        return redis.error_reply('INVALID bucket or cost')
      end
    end
    local worst = judge(first, count)
    local slot, cost = asked[first + worst * 2], asked[first + worst * 2 + 1]
    local word = verdict(quota_of[slot], capacities[slot], levels[slot], cost)
    local granted = word == 'granted' and 1 or 0
    if granted == 1 then
      for item = 0, count - 1 do take(asked[first + item * 2], asked[first + item * 2 + 1], 1) end
    end
    tell(slot)
    explain(slot, cost, granted, 1 - granted, word)
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
    if wrong then return wrong end
  end
end

for number = 1, quotas_count do
  if quotas[number].limited > 0 then redis.call('XLEN', KEYS[2 + number * 2]) end -- a wrong type fails before any write
end
local resets = {}
for slot = 1, buckets_count do
  local quota, level_key = quota_of[slot], KEYS[first_level + slot - 1]
  local reset = quota.known and wait_of(slot, capacities[slot]) or -1
  resets[slot] = reset
  if changed[slot] then
    if reset >= 0 and buckets_count > 1 and #level_key > #quota.key then
      local some = quota.saved or {}
      local count = #some
      some[count + 1], some[count + 2] = level_key, level_text(levels[slot], ats[slot])
      quota.saved, quota.longest = some, math.max(quota.longest or 0, reset)
    else
      save_level(quota, level_key, levels[slot], ats[slot], reset)
    end
  end
end
for number = 1, quotas_count do
  if quotas[number].saved then save_levels(quotas[number].saved, quotas[number].longest) end
end
for number = 1, quotas_count do
  note_decisions(KEYS[1 + number * 2], KEYS[2 + number * 2], quotas[number], now)
end
local reply = { batch }
for request = 1, told do
  reply[request + 1] = format('%d %d', held[request], resets[slot_of[request]])
end
local text = table.concat(reply, ' ') .. ';' .. table.concat(others, ' ')
redis.call('SET', KEYS[2], text, 'PX', '60000')
return text
