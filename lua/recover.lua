-- recover: bring Redis up to what SQL knows, never back. Run by the fence alone, under its SQL lock, after the journal
-- has been drained; the last call writes the marker and so lets everybody in again. Running it twice changes nothing.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:due             zset    run id of what waits -> when to look at it again
-- KEYS[3]    qf:{p0}:running         zset    run id -> end of its lease
-- KEYS[4+]   the key of each item
-- ARGV[1]    marker       0 | 1: write the marker after the items
-- ARGV[2]    store id
-- ARGV[3]    run id of the server
-- ARGV[4+]   per item: act, number of values, values
--            set    field value ...      HSET
--            max    field number         the greater of the two stays
--            keep   field value          HSET only where the field is missing
--            unset  field                HDEL
--            clear  beginning            HDEL every field that begins so
--            drop                        DEL
--            open   member, lease in microseconds from now: ZADD unless it is there
--            shut   member: ZREM
--            wait   run id, due in microseconds, attempt, paid 0 | 1, fact: the run waits, unless Redis has it waiting
--                   for this attempt already
--            gone   run id: it waits no more
--            put    text, lifetime in milliseconds: SET
--            add    text, lifetime in milliseconds: SET unless it is there
-- reply      items written
-- A recovery that was frozen and goes on must not undo a later one.
local begun = whole(redis.call('HGET', KEYS[1], 'recovering') or '0')
if begun > tonumber(incarnation) then
  return redis.error_reply('FENCED incarnation ' .. incarnation .. ', recovery ' .. digits(begun) .. ' has begun')
end
redis.call('HSET', KEYS[1], 'recovering', incarnation)
local index = 4
local now = now_us()
for number = 4, #KEYS do
  local act, count = ARGV[index], whole(ARGV[index + 1])
  if not count then return redis.error_reply('INVALID item ' .. (number - 3)) end
  if act == 'set' then
    redis.call('HSET', KEYS[number], unpack(ARGV, index + 2, index + 1 + count))
  elseif act == 'max' then
    local field, value = ARGV[index + 2], whole(ARGV[index + 3])
    if value > (whole(redis.call('HGET', KEYS[number], field) or '0') or 0) then
      redis.call('HSET', KEYS[number], field, digits(value))
    end
  elseif act == 'keep' then
    redis.call('HSETNX', KEYS[number], ARGV[index + 2], ARGV[index + 3])
  elseif act == 'unset' then
    redis.call('HDEL', KEYS[number], ARGV[index + 2])
  elseif act == 'clear' then
    local beginning = ARGV[index + 2]
    for _, field in ipairs(redis.call('HKEYS', KEYS[number])) do
      if string.sub(field, 1, #beginning) == beginning then redis.call('HDEL', KEYS[number], field) end
    end
  elseif act == 'drop' then
    redis.call('DEL', KEYS[number])
  elseif act == 'open' then
    redis.call('ZADD', KEYS[number], 'NX', digits(now + whole(ARGV[index + 3])), ARGV[index + 2])
  elseif act == 'shut' then
    redis.call('ZREM', KEYS[number], ARGV[index + 2])
  elseif act == 'wait' then
    local run = ARGV[index + 2]
    local fields = redis.call('HMGET', KEYS[number], 'fact', 'instance')
    local attempt = string.match(fields[1] or '', ' attempt=(%d+)')
    if fields[2] or attempt ~= ARGV[index + 4] or not redis.call('ZSCORE', KEYS[2], run) then
      redis.call('DEL', KEYS[number])
      redis.call('ZREM', KEYS[3], run)
      redis.call('HSET', KEYS[number], 'fact', ARGV[index + 6], 'paid', ARGV[index + 5])
      redis.call('ZADD', KEYS[2], digits(whole(ARGV[index + 3])), run)
    end
    redis.call('HSET', KEYS[number], 'line', '0', 'paced', '0') -- the lines themselves begin anew
  elseif act == 'gone' then
    redis.call('ZREM', KEYS[2], ARGV[index + 2])
    if redis.call('HEXISTS', KEYS[number], 'instance') == 0 then redis.call('DEL', KEYS[number]) end
  elseif act == 'put' then
    redis.call('SET', KEYS[number], ARGV[index + 2], 'PX', ARGV[index + 3])
  elseif act == 'add' then
    redis.call('SET', KEYS[number], ARGV[index + 2], 'NX', 'PX', ARGV[index + 3])
  else
    return redis.error_reply('INVALID act ' .. tostring(act))
  end
  index = index + 2 + count
end
if ARGV[1] == '1' then
  redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'store_id', ARGV[2], 'run_id', ARGV[3])
end
return #KEYS - 3
