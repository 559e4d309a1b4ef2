-- claim: admit due ticks and manual triggers: move the task's cursor, charge its quota, journal what was decided.
-- Every item is decided on its own, in the order given. Sending the same run id again gives the same grant.
-- uses       fence bucket counters allowance journal
-- KEYS[1]    qf:{p0}:meta            hash    the marker; `backlog` counts journalled facts not yet in SQL
-- KEYS[2]    qf:{p0}:journal         stream
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease in microseconds
-- KEYS[4+]   per item, five keys:
--            qf:{p0}:task:<id>       hash    last_tick (the cursor), paused
--            qf:{p0}:run:<run id>    hash    fact, instance
--            qf:{p0}:quota:<id>, qf:{p0}:level:<id>, qf:{p0}:refused:<id>   as in acquire; for a prepaid quota
--            qf:{p0}:allowance:<id> takes the place of its level, and the charge is a ledger fact as in consume
-- ARGV[1]    instance     id of the claiming daemon
-- ARGV[2]    lease        microseconds until an unrenewed run counts as lost
-- ARGV[3]    backlog_max  facts; at this many nothing new begins
-- ARGV[4+]   per item, eight values:
--            mode         tick (run it) | missed (only write it down) | trigger (no cursor)
--            at           scheduled_for in microseconds; 0 for a trigger
--            cursor       the last_tick this claim follows, microseconds; 0 for a trigger
--            run id
--            cost         micro-units
--            quota        yes | no | allow (a missing or disabled quota admits)
--            event id
--            fact         text of the journal fact; status, reason and claimed are added here
-- reply      per item two values: word, number
--            granted claimed_us | limited retry_after_us | impossible -1 | exhausted -1 | expired 0 | disabled 0 |
--            missing 0 | paused 0 | missed 0 | taken last_tick | early microseconds too early | backlog facts
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()
local AHEAD = 50000 -- a claim this much before its moment is a clock that runs ahead

local instance, lease, backlog_max = ARGV[1], whole(ARGV[2]), whole(ARGV[3])
if not lease or not backlog_max then return redis.error_reply('INVALID lease or backlog_max') end
local backlog = whole(redis.call('HGET', KEYS[1], 'backlog') or '0')
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])

local facts, leases, reply = {}, {}, {}
local now_text, lease_end = digits(now), digits(now + lease)
local buckets, allowances, cursors = {}, {}, {}

local function answer(word, number)
  reply[#reply + 1] = word
  reply[#reply + 1] = number
end

local function journal(item, status, reason)
  local text = item.fact .. ' claimed=' .. now_text .. ' status=' .. status
  if reason then text = text .. ' reason=' .. reason end
  facts[#facts + 1] = item.event
  facts[#facts + 1] = text
end

local function read_item(number)
  local key, arg = 3 + (number - 1) * 5, 3 + (number - 1) * 8
  local item = {
    task = KEYS[key + 1], run_key = KEYS[key + 2], quota_key = KEYS[key + 3], level_key = KEYS[key + 4],
    refused_key = KEYS[key + 5], mode = ARGV[arg + 1], at = whole(ARGV[arg + 2]), cursor = whole(ARGV[arg + 3]),
    run = ARGV[arg + 4], cost = whole(ARGV[arg + 5]), quota = ARGV[arg + 6], event = ARGV[arg + 7], fact = ARGV[arg + 8],
  }
  if not (item.at and item.cursor and item.cost and item.fact) then return nil end
  return item
end

-- What an item draws on, opened once per call; several items may draw on it.
local function open_for(item)
  item.prepaid = string.sub(item.level_key, 1, 18) == 'qf:{p0}:allowance:'
  if allowances[item.level_key] or buckets[item.quota_key] then return end
  if item.prepaid then
    redis.call('XLEN', item.refused_key)
    local it = open_allowance(item.level_key, now)
    it.item, allowances[item.level_key] = item, it
    return
  end
  local quota = open_quota(item.quota_key)
  local bucket = open_bucket(quota, item.quota_key, '', redis.call('GET', item.level_key), now)
  redis.call('XLEN', item.refused_key)
  bucket.item = item
  buckets[item.quota_key] = bucket
end

local function task_state(item)
  if not cursors[item.task] then
    local fields = redis.call('HMGET', item.task, 'last_tick', 'paused')
    cursors[item.task] = { last = whole(fields[1]), paused = fields[2] == '1' }
  end
  return cursors[item.task]
end

local items = {}
for number = 1, (#KEYS - 3) / 5 do
  local item = read_item(number)
  if not item then return redis.error_reply('INVALID item ' .. number) end
  items[number] = item
  if item.mode ~= 'trigger' and not task_state(item).last then return redis.error_reply('FENCED ' .. item.task .. ' has no cursor') end
  if item.quota ~= 'no' then open_for(item) end
  item.again = redis.call('HEXISTS', item.run_key, 'fact') == 1
end

-- What a prepaid quota says. The run's id is the request id of its charge.
local function charge_prepaid(item)
  local it = allowances[item.level_key]
  local word = allows(it, item.cost, now)
  if word == 'granted' then
    charge_allowance(it, item.cost, facts, item.event .. '.charge', ' request=' .. item.run, now)
    return word, now
  end
  if word == 'exhausted' then
    it.limited, it.word, it.retry = it.limited + 1, word, -1
    return word, -1
  end
  if item.quota == 'allow' and (word == 'missing' or word == 'disabled') then return 'granted', now end
  return word, 0
end

-- What the quota says: a word, and the number that goes with it.
local function charge(item)
  if item.quota == 'no' then return 'granted', now end
  if item.prepaid then return charge_prepaid(item) end
  local bucket = buckets[item.quota_key]
  local word, quota = verdict(bucket, item.cost), bucket.quota
  if word == 'granted' then
    bucket.level, bucket.taken = bucket.level - item.cost, true
    quota.allowed = quota.allowed + 1
    return word, now
  end
  if word == 'missing' or word == 'disabled' then
    if item.quota == 'allow' then return 'granted', now end
    return word, 0
  end
  quota.limited, quota.word, quota.retry = quota.limited + 1, word, wait_for(bucket, item.cost, now)
  return word, quota.retry
end

-- Whether the cursor lets this item through: nil, or the answer it gets instead.
local function barred(item, state)
  if item.mode == 'trigger' then return nil end
  if item.at > now + AHEAD then return 'early', item.at - now end
  if state.last ~= item.cursor or item.at <= state.last then return 'taken', state.last end
end

local function admit(item)
  local word, number = 'paused', 0
  if item.mode == 'trigger' or not task_state(item).paused then word, number = charge(item) end
  if word == 'granted' then
    journal(item, 'running')
    redis.call('HSET', item.run_key, 'fact', item.fact .. ' claimed=' .. now_text, 'instance', instance)
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = item.run
  elseif word == 'limited' or word == 'impossible' or word == 'exhausted' then
    journal(item, 'limited', word)
  else
    journal(item, 'skipped', word)
  end
  answer(word, number)
end

for _, item in ipairs(items) do
  local state = task_state(item)
  local word, number = barred(item, state)
  if item.again then
    answer('granted', now)
  elseif word then
    answer(word, number)
  elseif backlog + #facts / 2 >= backlog_max then
    answer('backlog', backlog)
  else
    if item.mode ~= 'trigger' then
      state.last, state.moved = item.at, true
    end
    if item.mode == 'missed' then
      journal(item, 'missed', 'misfire')
      answer('missed', 0)
    else
      admit(item)
    end
  end
end

if #leases > 0 then redis.call('ZADD', KEYS[3], unpack(leases)) end
for task, state in pairs(cursors) do
  if state.moved then redis.call('HSET', task, 'last_tick', digits(state.last)) end
end
for quota_key, bucket in pairs(buckets) do
  if bucket.taken or bucket.jumped then save_bucket(bucket, bucket.item.level_key, -1) end
  note_decisions(quota_key, bucket.item.refused_key, bucket.quota, now)
end
for _, it in pairs(allowances) do
  save_allowance(it)
  note_refused(it, it.item.refused_key, now)
end
append(KEYS[1], KEYS[2], facts)
return reply
