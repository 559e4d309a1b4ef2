-- claim: admit due ticks, manual triggers, and runs whose waiting is over: move the task's cursor, hold it to its rate
-- and its slots, charge its quota, journal what was decided. What must wait is put into `due` here, and holds no worker.
-- Every item is decided on its own, in the order given. Sending the same run id again gives the same grant.
-- uses       fence bucket opened counters allowance refusals slots journal
-- KEYS[1]    qf:{p0}:meta            hash    the marker; `backlog` counts journalled facts not yet in SQL
-- KEYS[2]    qf:{p0}:journal         stream
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease in microseconds
-- KEYS[4]    qf:{p0}:due             zset    run id of what waits -> when to look at it again, microseconds
-- KEYS[5+]   per item, eight keys:
--            qf:{p0}:task:<id>       hash    last_tick (the cursor), paused, skip (a moment that is not to run), rate
--                                            ("<interval us> <burst>"), rate_free ("<moment> <interval us>": when the
--                                            next start would be even)
--            qf:{p0}:run:<run id>    hash    fact, instance (while it runs); paced (it waits for its turn), paid, line, since
--            qf:{p0}:slots:task:<id> zset
--            qf:{p0}:quota:<id>, qf:{p0}:level:<id>, qf:{p0}:refused:<id>   as in acquire; for a prepaid quota
--            qf:{p0}:allowance:<id> takes the place of its level, and the charge is a ledger fact as in consume.
--                                            Of the quota: max_concurrent, waiting (runs in line for its units)
--            qf:{p0}:slots:quota:<id> zset
--            qf:{p0}:paced:<task id> set     runs that wait for their turn by the rate
-- ARGV[1]    instance     id of the claiming daemon
-- ARGV[2]    lease        microseconds until an unrenewed run counts as lost
-- ARGV[3]    backlog_max  facts; at this many nothing new begins
-- ARGV[4]    waiting_max  runs in `due`; at this many nothing new waits
-- ARGV[5+]   per item, nine values:
--            mode         tick (run it) | missed (only write it down) | trigger (no cursor) | due (it waited)
--            at           scheduled_for in microseconds; 0 for a trigger
--            cursor       the last_tick this claim follows, microseconds; 0 without one
--            run id
--            cost         micro-units
--            quota        yes | no | allow (a missing or disabled quota admits)
--            event id
--            fact         text of the journal fact; status, reason, claimed and due are added here
--            terms        "-", or "<not before> <until> <expires> <max running> <queue> <attempt>": microseconds, 0 for
--                         none: it starts no earlier (1: in whatever daemon looks first), waits for units no longer, is worth nothing later; runs of its
--                         task at once; 1 when one too many may wait; unless it is 1 the holder is "<instance>#<attempt>"
-- reply      per item two values: word, number
--            granted claimed_us | waiting due_us | limited retry_after_us | impossible -1 | exhausted -1 | expired 0 |
--            disabled 0 | missing 0 | paused 0 | skip 0 | overlap 0 | busy 0 | full 0 | missed 0 | taken last_tick |
--            early microseconds too early | backlog facts
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()
local AHEAD = 50000 -- a claim this much before its moment is a clock that runs ahead
local LATE = 250000 -- a start by the rate that is late by up to this does not move the next one
local RESUMED = 1000000 -- how soon a run of a paused task notices that it may go on
local LOOK = 5000000 -- what waits for something that may happen at any time is looked at this often, if nobody wakes it

local instance, lease, backlog_max, waiting_max = ARGV[1], whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
if not lease or not backlog_max or not waiting_max then return redis.error_reply('INVALID lease, backlog_max or waiting_max') end
local backlog = whole(redis.call('HGET', KEYS[1], 'backlog') or '0')
redis.call('XLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
local waiting_count = redis.call('ZCARD', KEYS[4])

local facts, leases, reply = {}, {}, {}
local now_text, lease_end = digits(now), now + lease
local buckets, allowances, cursors = {}, {}, {}
local FINAL = { -- words that end a run here, and its status
  limited = 'limited', impossible = 'limited', exhausted = 'limited', full = 'limited', busy = 'limited',
  paused = 'skipped', skip = 'skipped', overlap = 'skipped', expired = 'skipped', disabled = 'skipped', missing = 'skipped',
}

local function answer(word, number)
  reply[#reply + 1] = word
  reply[#reply + 1] = number
end

local function journal(item, status, reason, rest)
  local text = item.fact .. ' claimed=' .. now_text .. ' status=' .. status
  if reason then text = text .. ' reason=' .. reason end
  facts[#facts + 1] = item.event
  facts[#facts + 1] = text .. (rest or '')
end

local function read_terms(item, text)
  item.not_before, item.until_us, item.expires, item.max_running = 0, 0, 0, 0
  item.holder = instance
  if text == '-' then return true end
  local not_before, until_us, expires, max_running, queues, attempt =
    string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) ([01]) ([%d.]+)$')
  if attempt ~= '1' then item.holder = instance .. '#' .. (attempt or '') end
  item.not_before, item.until_us, item.expires = whole(not_before), whole(until_us), whole(expires)
  item.max_running, item.queues = whole(max_running), queues == '1'
  return item.not_before and item.until_us and item.expires and item.max_running
end

local function read_item(number)
  local key, arg = 4 + (number - 1) * 8, 4 + (number - 1) * 9
  local item = {
    task = KEYS[key + 1], run_key = KEYS[key + 2], task_slots = KEYS[key + 3], quota_key = KEYS[key + 4],
    level_key = KEYS[key + 5], refused_key = KEYS[key + 6], quota_slots = KEYS[key + 7], paced_key = KEYS[key + 8],
    mode = ARGV[arg + 1], at = whole(ARGV[arg + 2]), cursor = whole(ARGV[arg + 3]), run = ARGV[arg + 4],
    cost = whole(ARGV[arg + 5]), quota = ARGV[arg + 6], event = ARGV[arg + 7], fact = ARGV[arg + 8],
  }
  if not (item.at and item.cursor and item.cost and item.fact and read_terms(item, ARGV[arg + 9])) then return nil end
  item.has_cursor = item.mode == 'tick' or item.mode == 'missed'
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
  local more = redis.call('HMGET', item.quota_key, 'max_concurrent', 'waiting')
  local bucket = open_bucket(quota, item.level_key, redis.call('GET', item.level_key), now)
  redis.call('XLEN', item.refused_key)
  bucket.item, bucket.max_concurrent, bucket.line, bucket.short = item, whole(more[1]), whole(more[2]) or 0, 0
  if waiting_count == 0 then bucket.line = 0 end -- a quota that runs were moved away from keeps their places
  buckets[item.quota_key] = bucket
end

local function task_state(item)
  local state = cursors[item.task]
  if state then return state end
  local fields = redis.call('HMGET', item.task, 'last_tick', 'paused', 'skip', 'rate', 'rate_free')
  state = { last = whole(fields[1]), paused = fields[2] == '1', skip = whole(fields[3]) }
  if fields[4] then
    local interval, burst = string.match(fields[4], '^(%d+) (%d+)$')
    local free, its = string.match(fields[5] or '', '^(%d+) (%d+)$')
    state.interval, state.burst, state.free = whole(interval), whole(burst), whole(free) or 0
    -- By an earlier rate the next start may be far away; by this one it is an interval at most.
    if whole(its) ~= state.interval then
      state.free, state.paced = math.min(state.free, now + state.interval), true
    end
    state.ahead = redis.call('SCARD', item.paced_key)
    state.early = 0 -- of those that waited, asked for again in this call, and not yet to start
  end
  cursors[item.task] = state
  return state
end

-- What is there of a run: nothing for a new one.
local function read_run(item)
  local fields = redis.call('HMGET', item.run_key, 'fact', 'instance', 'paced', 'paid', 'line')
  item.is_known, item.runs_at = fields[1] and true or false, fields[2]
  if item.runs_at then item.claimed = tonumber(string.match(fields[1] or '', ' claimed=(%d+)') or nil) end
  if item.is_known and not item.runs_at then
    item.due = tonumber(redis.call('ZSCORE', KEYS[4], item.run) or nil)
    item.paced, item.paid, item.in_line = fields[3] == '1', fields[4] == '1', fields[5] == '1'
  end
end

-- How many may run at once under its quota; nil is any number.
local function most_under_quota(item)
  return item.quota ~= 'no' and not item.prepaid and buckets[item.quota_key].max_concurrent or nil
end

local items = {}
for number = 1, (#KEYS - 4) / 8 do
  local item = read_item(number)
  if not item then return redis.error_reply('INVALID item ' .. number) end
  items[number] = item
  if item.has_cursor and not task_state(item).last then return redis.error_reply('FENCED ' .. item.task .. ' has no cursor') end
  if item.quota ~= 'no' then open_for(item) end
  if item.max_running > 0 then redis.call('ZCARD', item.task_slots) end
  if most_under_quota(item) then redis.call('ZCARD', item.quota_slots) end
  read_run(item)
end

-- Whether the cursor lets this item through, or where it stands already: nil, or the answer it gets instead.
local function barred(item)
  if item.runs_at then
    if item.runs_at == item.holder then return 'granted', item.claimed or now end
    return 'taken', 0
  end
  if item.mode == 'due' then
    if not item.due then return 'taken', 0 end
    if item.due > now + AHEAD then return 'waiting', item.due end
    return nil
  end
  if item.is_known then return 'waiting', item.due or now end
  if item.mode == 'trigger' then return nil end
  local state = task_state(item)
  if item.at > now + AHEAD then return 'early', item.at - now end
  if state.last ~= item.cursor or item.at <= state.last then return 'taken', state.last end
end

-- A slot, if one is needed: nil when this run has it; a new one that may not wait is told so.
local function lacks_slot(item, key, most, waits, word)
  if not most or has_slot(key, item.run, most, KEYS[4], now) then return nil end
  if not waits and not item.paid and item.until_us <= now then return word, 0 end
  await_slot(key, item.run, now)
  item.awaits = true
  return 'waiting', item.until_us > now and math.min(item.until_us, now + LOOK) or now + LOOK, word
end

local function lacks_task_slot(item)
  if item.max_running == 0 then return nil end
  local waits = item.queues and (item.mode == 'due' or slots_awaited(item.task_slots) == 0)
  return lacks_slot(item, item.task_slots, item.max_running, waits, 'overlap')
end

local function lacks_quota_slot(item)
  return lacks_slot(item, item.quota_slots, most_under_quota(item), false, 'busy')
end

-- When this run may start by the rate of its task; nil is now. `free` is when the next start would be even (GCRA, the
-- generic cell rate algorithm of ATM traffic control); those who wait already come first, each an interval later. What
-- is told here is when to ask again, and no promise: nothing is held for a run that is cancelled or late.
local function turn_of(item)
  local state = task_state(item)
  if not state.interval then return nil end
  local open = state.free - (state.burst - 1) * state.interval
  if item.mode == 'due' then
    if open <= now then return nil end
    state.early = state.early + 1
    return open + (state.early - 1) * state.interval
  end
  if open <= now and state.ahead == 0 then return nil end
  return math.max(now, open) + state.ahead * state.interval
end

local function start_by_rate(item)
  local state = task_state(item)
  if not state.interval then return end
  local is_even = now - state.free <= LATE
  state.free, state.paced = (is_even and state.free or now) + state.interval, true
end

-- What a prepaid quota says; nothing is taken yet.
local function look_prepaid(item)
  local it = allowances[item.level_key]
  local word = allows(it, item.cost, now)
  if word == 'exhausted' then
    it.limited, it.word, it.retry = it.limited + 1, word, -1
    return word, -1
  end
  if item.quota == 'allow' and (word == 'missing' or word == 'disabled') then
    item.is_free = true
    return 'granted', now
  end
  return word, 0
end

-- When the units of this run will be there that waits for them: those in line come first.
local function units_due(item, bucket, retry)
  local ahead = bucket.short
  if not item.in_line then ahead = math.min(bucket.line, 1000000) * item.cost end
  bucket.short = bucket.short + item.cost
  local gain = time_to_gain(math.min(item.cost + ahead, FOREVER) - bucket.level, bucket.rate)
  if gain < 0 then return nil end
  return now + math.max(gain - (now - bucket.at), retry, 1)
end

-- What the quota says: a word, and the number that goes with it.
local function look(item)
  if item.quota == 'no' or item.paid then return 'granted', now end
  if item.prepaid then return look_prepaid(item) end
  local bucket = buckets[item.quota_key]
  local quota = bucket.quota
  local word = verdict(quota, bucket.capacity, bucket.level, item.cost)
  local waits = item.until_us > now
  if word == 'granted' and not (waits and not item.in_line and bucket.line > 0) then return word, now end
  if word == 'missing' or word == 'disabled' then
    if item.quota == 'allow' then
      item.is_free = true
      return 'granted', now
    end
    return word, 0
  end
  local retry = wait_for(item.cost, bucket.capacity, bucket.rate, bucket.level, bucket.at, now)
  local due = waits and word ~= 'impossible' and units_due(item, bucket, retry)
  if due and due <= item.until_us then return 'waiting', due, 'limited' end
  if word == 'granted' then return word, now end
  quota.limited, quota.word, quota.retry = quota.limited + 1, word, retry
  return word, retry
end

local function take(item)
  if item.quota == 'no' or item.paid or item.is_free then return end
  if item.prepaid then
    charge_allowance(allowances[item.level_key], item.cost, facts, item.event .. '.charge', ' request=' .. item.run, now)
    return
  end
  local bucket = buckets[item.quota_key]
  bucket.level, bucket.taken = bucket.level - item.cost, true
  bucket.quota.allowed = bucket.quota.allowed + 1
end

local function decide(item)
  local state = task_state(item)
  if item.mode == 'tick' and state.skip == item.at then return 'skip', 0 end
  if item.expires > 0 and now >= item.expires then return 'expired', 0 end
  if state.paused and item.mode ~= 'trigger' then
    if item.mode == 'due' then return 'waiting', now + RESUMED end
    return 'paused', 0
  end
  if item.not_before == 1 then return 'waiting', now, 'delayed' end
  if item.not_before > now then return 'waiting', item.not_before, 'delayed' end
  for _, lacks in ipairs({ lacks_task_slot, lacks_quota_slot, look }) do
    local word, number, reason = lacks(item)
    if word and word ~= 'granted' then return word, number, reason end
  end
  local turn = turn_of(item)
  if turn then return 'waiting', turn, 'rate' end
  return 'granted', now
end

-- Whoever leaves the line for units, or joins it.
local function stand_in_line(item, in_line)
  if (item.in_line or false) == in_line then return end
  local bucket = buckets[item.quota_key]
  if not bucket then -- its quota is prepaid by now, or it has none
    item.in_line = false
    return
  end
  bucket.line, bucket.line_moved = math.max(0, bucket.line + (in_line and 1 or -1)), true
  item.in_line = in_line
end

-- Who waits for something else, or no more, holds up nobody who waits for a slot.
local function leave_slots(item, stays)
  if item.mode ~= 'due' and not item.awaits then return end
  if not stays.overlap then leave_slot(item.task_slots, item.run, KEYS[4], now) end
  if not stays.busy then leave_slot(item.quota_slots, item.run, KEYS[4], now) end
end

local function stand_for_turn(item, paced)
  if (item.paced or false) == paced then return end
  redis.call(paced and 'SADD' or 'SREM', item.paced_key, item.run)
  local state = task_state(item)
  if state.ahead then state.ahead = math.max(0, state.ahead + (paced and 1 or -1)) end
  item.paced = paced
end

local function wait(item, due, reason)
  -- Whose units are there, and only its turn is not, keeps its place: others would come between it and them for ever.
  -- A paused task keeps the places of its runs.
  local stays = item.in_line and (reason == 'rate' or not reason) or false
  stand_in_line(item, reason == 'limited' or stays)
  stand_for_turn(item, reason == 'rate' or (not reason and item.paced or false))
  leave_slots(item, { [reason or ''] = true })
  redis.call('ZADD', KEYS[4], digits(due), item.run)
  redis.call('HSET', item.run_key, 'fact', item.fact, 'paced', item.paced and '1' or '0',
    'paid', item.paid and '1' or '0', 'line', item.in_line and '1' or '0')
  if item.mode == 'due' then return end
  redis.call('HSET', item.run_key, 'since', now_text)
  waiting_count = waiting_count + 1
  journal(item, 'waiting', reason, ' due=' .. digits(due))
end

local function begin(item)
  take(item)
  start_by_rate(item)
  journal(item, 'running')
  local holds = { overlap = item.max_running > 0, busy = most_under_quota(item) }
  if holds.overlap then take_slot(item.task_slots, item.run, lease_end) end
  if holds.busy then take_slot(item.quota_slots, item.run, lease_end) end
  leave_slots(item, holds)
  local held = (holds.overlap and 't' or '') .. (holds.busy and 'q' or '')
  redis.call('HSET', item.run_key, 'fact', item.fact .. ' claimed=' .. now_text, 'instance', item.holder)
  if held ~= '' then redis.call('HSET', item.run_key, 'slots', held) end
  leases[#leases + 1] = digits(lease_end)
  leases[#leases + 1] = item.run
end

local function leave_due(item)
  if item.mode ~= 'due' then return end
  stand_in_line(item, false)
  stand_for_turn(item, false)
  redis.call('ZREM', KEYS[4], item.run)
  redis.call('HDEL', item.run_key, 'paced', 'paid', 'line')
end

local function admit(item)
  local word, number, reason = decide(item)
  if word == 'waiting' and item.mode ~= 'due' and waiting_count >= waiting_max then word, number = 'full', 0 end
  if word == 'waiting' then
    wait(item, number, reason)
  else
    leave_due(item)
    if word == 'granted' then
      begin(item)
    else
      journal(item, FINAL[word], word)
      if item.is_known then redis.call('DEL', item.run_key) end
      leave_slots(item, {})
    end
  end
  answer(word, number)
end

for _, item in ipairs(items) do
  local word, number = barred(item)
  if word then
    answer(word, number)
  elseif backlog + #facts / 2 >= backlog_max then
    answer('backlog', backlog)
  else
    local state = task_state(item)
    if item.has_cursor then
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
  if state.paced then redis.call('HSET', task, 'rate_free', digits(state.free) .. ' ' .. digits(state.interval)) end
end
for quota_key, bucket in pairs(buckets) do
  if bucket.taken or bucket.jumped then save_level(bucket.quota, bucket.item.level_key, bucket.level, bucket.at, -1) end
  if bucket.line_moved then redis.call('HSET', quota_key, 'waiting', digits(bucket.line)) end
  note_decisions(quota_key, bucket.item.refused_key, bucket.quota, now)
end
for _, it in pairs(allowances) do
  save_allowance(it)
  note_refused(it, it.item.refused_key, now)
end
append(KEYS[1], KEYS[2], facts)
return reply
