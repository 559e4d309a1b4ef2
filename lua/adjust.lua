-- adjust: change by a person's or a schedule's word what an allowance has; each change is a ledger fact. An act has an id
-- of its own: repeating it is answered from its record and changes nothing.
-- uses       fence bucket allowance requests journal
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:journal                     stream
-- KEYS[3]    qf:{p0}:requests                    hash    how many records there are
-- KEYS[4]    qf:{p0}:request:<id>:<act's id>     string  the record
-- KEYS[5]    qf:{p0}:allowance:<id>              hash    the allowance
-- ARGV[1]    act         recharge (total and remaining grow) | set (remaining is the amount; total at least that) |
--                        reset (both are the amount, without one remaining is the total) | expire (nothing remains and it
--                        ends now) | adjust (take the amount, at most what is there) | period (as reset, if `moment` is
--                        later than that of the last period) | mirror (remaining becomes the amount, less what was drawn
--                        since the last mirror, or since the mark was made; not below 0)
-- ARGV[2]    amount      micro-units, integer 0 .. 9e15, or - for none
-- ARGV[3]    moment      microseconds, of a period
-- ARGV[4]    lifetime    of the record, ms
-- ARGV[5]    event id
-- ARGV[6]    rest        " key=value ..." for the fact
-- ARGV[7]    total       of a mirror from now on, micro-units, or - as it is
-- ARGV[8]    mark        of a mirror: what had been drawn when the service was asked, micro-units with sign, or -
-- reply      word (done|again|conflict|missing|unmetered|too_much|kept), total, remaining, both in micro-units
local lost = fenced(KEYS[1])
if lost then return lost end
local act, lifetime_ms, moment = ARGV[1], whole(ARGV[4]), whole(ARGV[3])
local amount = ARGV[2] ~= '-' and whole(ARGV[2]) or nil
if not lifetime_ms or lifetime_ms < 1 or not moment or (ARGV[2] ~= '-' and not amount) then
  return redis.error_reply('INVALID act')
end
if not amount and act ~= 'reset' and act ~= 'period' and act ~= 'expire' then return redis.error_reply('INVALID amount') end
local now = now_us()
local it = open_allowance(KEYS[5], now)
local parts = act .. '=' .. ARGV[2]
local total_before = whole(redis.call('HGET', KEYS[5], 'total') or '0') or 0
local function told(word) return { word, digits(it.total or total_before), digits(it.remaining or 0) } end

local record = read_request(redis.call('GET', KEYS[4]))
if record then return told(record.text == parts and 'again' or 'conflict') end
if not it.seq then return told('missing') end
if not it.metered and act ~= 'expire' then return told('unmetered') end
local requests = open_requests(KEYS[3], now)

local total, remaining = total_before, it.remaining
if act == 'recharge' then
  total, remaining = total + amount, remaining + amount
elseif act == 'set' then
  total, remaining = math.max(total, amount), amount
elseif act == 'reset' or act == 'period' then
  total = amount or total
  remaining = total
elseif act == 'expire' then
  remaining = 0
elseif act == 'adjust' then
  remaining = remaining - math.min(remaining, amount)
elseif act == 'mirror' then
  local base = whole(redis.call('HGET', KEYS[5], 'mirrored') or '-') or remaining
  local drawn = base - remaining - (ARGV[8] ~= '-' and tonumber(ARGV[8]) or 0)
  remaining = math.min(math.max(0, amount - drawn), 2000000000000000)
  total = math.min(math.max(whole(ARGV[7]) or total, remaining), 2000000000000000)
  if remaining == it.remaining and total == total_before then
    redis.call('HSET', KEYS[5], 'mirrored', digits(amount))
    return told('kept')
  end
else
  return redis.error_reply('INVALID act')
end
if total > 2000000000000000 or remaining > 2000000000000000 then return told('too_much') end
if act == 'period' and moment <= (whole(redis.call('HGET', KEYS[5], 'period_us') or '0') or 0) then
  return told('kept')
end

local facts = {}
local action = ({ period = 'reset', mirror = 'set' })[act] or act
if it.metered then
  post(it, facts, ARGV[5], action, remaining - it.remaining, ' total=' .. digits(total) .. ARGV[6], now)
end
append(KEYS[1], KEYS[2], facts)
it.total = total
save_allowance(it)
redis.call('HSET', KEYS[5], 'total', digits(total))
if act == 'mirror' then redis.call('HSET', KEYS[5], 'mirrored', digits(amount)) end
if act == 'expire' then redis.call('HSET', KEYS[5], 'expires_at_us', digits(now)) end
if act == 'period' then redis.call('HSET', KEYS[5], 'period_us', digits(moment)) end
save_request(requests, KEYS[4], 'charged ' .. ARGV[5] .. ' ' .. digits(it.remaining) .. ' ' .. parts, lifetime_ms, now)
save_requests(requests)
return told('done')
