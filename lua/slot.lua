-- slot: hold one of a quota's slots for a call: take it or stand in line for it, keep it, give it back. Runs take theirs
-- in claim, from the same slots and in the same line. Repeating any act changes nothing.
-- uses       fence slots
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:due             zset    run id -> when to look at it again
-- KEYS[3]    qf:{p0}:quota:<id>      hash    enabled, max_concurrent
-- KEYS[4]    qf:{p0}:slots:quota:<id> zset
-- ARGV[1]    act          take | keep | give
-- ARGV[2]    lease        microseconds until a slot that is not kept is free again
-- ARGV[3]    waited       of take: microseconds since it came, which is its place in line; "-": it does not wait
-- ARGV[4+]   holders; of take one
-- reply      take: taken | waiting | busy (and it does not wait) | missing | disabled | unlimited (it has no slots)
--            keep: the holders whose lease was lost meanwhile; they hold again, as they are under way
--            give: how many there were
local lost = fenced(KEYS[1])
if lost then return lost end
local now, act, lease, waited = now_us(), ARGV[1], whole(ARGV[2]), whole(ARGV[3])
if not lease then return redis.error_reply('INVALID lease') end
redis.call('ZCARD', KEYS[2])

if act == 'take' then
  local fields = redis.call('HMGET', KEYS[3], 'capacity', 'enabled', 'max_concurrent')
  local most, holder = whole(fields[3]), ARGV[4]
  if not fields[1] then return 'missing' end
  if fields[2] ~= '1' then return 'disabled' end
  if not most then return 'unlimited' end
  if has_slot(KEYS[4], holder, most, KEYS[2], now) then
    take_slot(KEYS[4], holder, now + lease)
    return 'taken'
  end
  if not waited then return 'busy' end
  await_slot(KEYS[4], holder, now - waited)
  return 'waiting'
end

if act == 'give' then
  local given = 0
  for number = 4, #ARGV do
    if redis.call('ZSCORE', KEYS[4], ARGV[number]) then given = given + 1 end
    leave_slot(KEYS[4], ARGV[number], KEYS[2], now)
  end
  return given
end

local gone = {}
for number = 4, #ARGV do
  local score = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[number]) or nil)
  if not score or score >= QUEUE then gone[#gone + 1] = ARGV[number] end
  take_slot(KEYS[4], ARGV[number], now + lease)
end
return gone
