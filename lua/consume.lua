-- consume: charge prepaid allowances, and the buckets that are named with them, all or none; each charge is a ledger
-- fact in the journal. Requests are decided in the order given; a refusal does not block the later ones. A request id
-- that was charged before is answered from its record and charges nothing. Cost 0 looks without taking.
-- uses       fence bucket opened counters allowance refusals requests journal
-- KEYS[1]    qf:{p0}:meta                 hash    the marker; `backlog` counts journalled facts not yet in SQL
-- KEYS[2]    qf:{p0}:journal              stream
-- KEYS[3]    qf:{p0}:requests             hash    how many records there are
-- KEYS[4]    qf:{p0}:reserved             zset    record of a held charge -> when it is given back, microseconds
-- KEYS[5+]   first the allowances, two keys each: qf:{p0}:allowance:<id> hash, qf:{p0}:refused:<id> stream
--            then the buckets, three keys each: qf:{p0}:quota:<id>, qf:{p0}:level:<id>, qf:{p0}:refused:<id> as in acquire
--            then one for each request: qf:{p0}:request:<caller>:<request id> string, its record
-- ARGV[1]    backlog_max    facts; at this many nothing is charged
-- ARGV[2]    requests_max   records; at this many no new id is charged
-- ARGV[3]    allowances     how many
-- ARGV[4]    buckets        how many
-- ARGV[5+]   per request, four values:
--            event id       of its first fact; the next are "<event id>.2" ...
--            what is asked  "<lifetime of the record, ms> <hold, us; 0 none> <place> <cost> ...": places count the
--                           allowances, then the buckets, from 1; costs in micro-units, integer 0 .. 9e15
--            parts          the same for the record, readable
--            rest           " key=value ..." for the facts
-- reply      one text of numbers and words, five for each request: word (granted|limited|exhausted|impossible|expired|
--            disabled|missing|cancelled|conflict|backlog|full), place that decided, what remains there in micro-units
--            (-1: not metered), retry_after_us (-1 never), 1 when it was charged before
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()
local backlog_max, requests_max = whole(ARGV[1]), whole(ARGV[2])
local allowances_count, buckets_count = whole(ARGV[3]), whole(ARGV[4])
local items_count = (#ARGV - 4) / 4
if not (backlog_max and requests_max and allowances_count and buckets_count) then
  return redis.error_reply('INVALID numbers')
end
local first_bucket = 5 + allowances_count * 2
local first_request = first_bucket + buckets_count * 3
if items_count < 1 or #KEYS ~= first_request + items_count - 1 then return redis.error_reply('INVALID keys') end

local records = redis.call('MGET', unpack(KEYS, first_request))
local items, places = {}, allowances_count + buckets_count

-- Read what is asked: lifetime, hold, and the first part into the item itself, which stands for it; all parts, if there
-- are more, into `parts`. Nearly every request has one: one match takes half as long as a loop, and no table is made.
local function read_asked(item, text)
  local lifetime, hold, slot, cost = string.match(text, '^(%d+) (%d+) (%d+) (%d+)$')
  if cost and #cost <= 16 then
    item.lifetime_ms, item.hold, item.slot, item.cost = tonumber(lifetime), tonumber(hold), tonumber(slot), tonumber(cost)
    item.is_look = item.cost == 0
    return item.slot >= 1 and item.slot <= places and item.cost <= 9000000000000000
  end
  local numbers, parts, is_look = {}, {}, true
  for word in string.gmatch(text, '%S+') do numbers[#numbers + 1] = whole(word) or -1 end
  for place = 3, #numbers, 2 do
    slot, cost = numbers[place], numbers[place + 1]
    if not cost or cost < 0 or slot < 1 or slot > places then return false end
    parts[#parts + 1] = { slot = slot, cost = cost }
    if cost > 0 then is_look = false end
  end
  if #parts == 0 then return false end
  item.lifetime_ms, item.hold, item.slot, item.cost = numbers[1], numbers[2], parts[1].slot, parts[1].cost
  item.parts, item.is_look = parts, is_look
  return true
end

for number = 1, items_count do
  local at = 1 + number * 4
  local item = { event = ARGV[at], text = ARGV[at + 2], rest = ARGV[at + 3], key = KEYS[first_request + number - 1] }
  if not read_asked(item, ARGV[at + 1]) or item.lifetime_ms < 1 or item.hold < 0 then
    return redis.error_reply('INVALID request ' .. number)
  end
  items[number] = item
end

local holders = {} -- by place: an allowance or a bucket
for number = 1, allowances_count do
  holders[number] = open_allowance(KEYS[3 + number * 2], now)
end
for number = 1, buckets_count do
  local key = first_bucket + (number - 1) * 3
  local quota = open_quota(KEYS[key])
  redis.call('XLEN', KEYS[key + 2])
  holders[allowances_count + number] = open_bucket(quota, KEYS[key + 1], redis.call('GET', KEYS[key + 1]), now)
end
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[4])
local requests = open_requests(KEYS[3], now)
local backlog = whole(redis.call('HGET', KEYS[1], 'backlog') or '0')

local RANK = { granted = 0, limited = 1, exhausted = 2, impossible = 3, expired = 4, disabled = 5, missing = 6 }
local facts, known, reply = {}, {}, {}
for number = 1, items_count do
  if records[number] then known[items[number].key] = read_request(records[number]) end
end

local function says(part)
  if part.slot <= allowances_count then return allows(holders[part.slot], part.cost, now) end
  local bucket = holders[part.slot]
  return verdict(bucket.quota, bucket.capacity, bucket.level, part.cost)
end

local function wait_of(part, word)
  if word ~= 'limited' then return word == 'granted' and 0 or -1 end
  local holder, cost = holders[part.slot], part.cost
  if part.slot <= allowances_count then holder, cost = holder.pace, A_REQUEST end
  return wait_for(cost, holder.capacity, holder.rate, holder.level, holder.at, now)
end

-- What is hardest to overcome decides; of two waits the longer one; if all is granted, the first part speaks.
local function judge(item)
  if not item.parts then return item, says(item) end
  local worst, decisive, longest = item.parts[1], 'granted', 0
  for _, part in ipairs(item.parts) do
    local word = says(part)
    local harder, wait = RANK[word] - RANK[decisive], wait_of(part, word)
    if wait < 0 then wait = FOREVER end
    if harder > 0 or (harder == 0 and wait > longest) then worst, decisive, longest = part, word, wait end
  end
  return worst, decisive
end

local function left_of(slot)
  local holder = holders[slot]
  if slot > allowances_count then return holder.level end
  if not holder.seq then return 0 end
  return holder.metered and holder.remaining or -1
end

local told = 0
local function answer(word, slot, left, wait, again)
  reply[told + 1], reply[told + 2], reply[told + 3] = word, slot, left
  reply[told + 4], reply[told + 5] = wait == 0 and '0' or digits(wait), again
  told = told + 5
end

local function refuse(item, part, word)
  local wait = wait_of(part, word)
  local holder = holders[part.slot]
  if part.slot > allowances_count then holder = holder.quota end
  if part.cost > 0 then holder.limited, holder.word, holder.retry = holder.limited + 1, word, wait end
  answer(word, part.slot, digits(left_of(part.slot)), wait, 0)
end

local function take(item)
  if not item.parts and item.slot <= allowances_count then
    return charge_allowance(holders[item.slot], item.cost, facts, item.event, item.rest, now)
  end
  local written = 0
  for _, part in ipairs(item.parts or { item }) do
    local holder, cost = holders[part.slot], part.cost
    if part.slot <= allowances_count then
      written = written + 1
      charge_allowance(holder, cost, facts, written == 1 and item.event or item.event .. '.' .. written, item.rest, now)
    elseif cost > 0 then
      holder.level, holder.taken = holder.level - cost, true
      holder.quota.allowed = holder.quota.allowed + 1
    end
  end
end

-- Words that stand for no decision: the record, or no room to write one or the facts.
local function barred(item)
  local record = known[item.key]
  if record and record.text ~= item.text and record.state ~= 'cancelled' then return 'conflict' end
  if record then return record.state == 'cancelled' and 'cancelled' or 'granted', record end
  if item.is_look then return nil end
  if backlog + #facts / 2 >= backlog_max then return 'backlog' end
  if requests.live >= requests_max then return 'full' end
end

for _, item in ipairs(items) do
  local word, record = barred(item)
  if word then
    answer(word, item.slot, record and record.after or digits(left_of(item.slot)), 0, record and 1 or 0)
  else
    local part
    part, word = judge(item)
    if word ~= 'granted' then
      refuse(item, part, word)
    else
      take(item)
      local left = digits(left_of(item.slot))
      answer('granted', item.slot, left, 0, 0)
      if not item.is_look then
        item.state, item.after = item.hold > 0 and 'held' or 'charged', left
        item.record = item.state .. ' ' .. item.event .. ' ' .. left .. ' ' .. item.text
        known[item.key] = item
        requests.live = requests.live + 1 -- counts at once; save_request counts it where it stays
      end
    end
  end
end

for number = 1, allowances_count do
  if holders[number].limited > 0 then redis.call('XLEN', KEYS[4 + number * 2]) end -- a wrong type fails before any write
end
append(KEYS[1], KEYS[2], facts)
for number = 1, allowances_count do
  save_allowance(holders[number])
  note_refused(holders[number], KEYS[4 + number * 2], now)
end
for number = 1, buckets_count do
  local key, bucket = first_bucket + (number - 1) * 3, holders[allowances_count + number]
  if bucket.taken or bucket.jumped then save_level(bucket.quota, KEYS[key + 1], bucket.level, bucket.at, -1) end
  note_decisions(KEYS[key], KEYS[key + 2], bucket.quota, now)
end
for _, item in ipairs(items) do
  if item.record then
    requests.live = requests.live - 1
    save_request(requests, item.key, item.record, item.lifetime_ms, now)
    if item.hold > 0 then -- its record stays until the units are settled or went back, however late that is
      redis.call('PERSIST', item.key)
      redis.call('ZADD', KEYS[4], digits(now + item.hold), item.key)
    end
  end
end
save_requests(requests)
return table.concat(reply, ' ')
