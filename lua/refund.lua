-- refund: give back what a request was charged: a refund, the rest of a reservation, a cancelled request. It happens once:
-- a request that was given back already is told so. A request id that nobody has seen can be cancelled too: a late
-- command with it is then refused.
-- uses       fence bucket allowance requests journal
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                          hash    the marker
-- KEYS[2]    qf:{p0}:journal                       stream
-- KEYS[3]    qf:{p0}:requests                      hash    how many records there are
-- KEYS[4]    qf:{p0}:reserved                      zset    record of a held charge -> when it is given back
-- KEYS[5]    qf:{p0}:request:<caller>:<request id> string  the record
-- KEYS[6+]   qf:{p0}:allowance:<id>                hash    the allowances among its parts, in their order
-- ARGV[1]    act         refund | settle | release | sweep (release, if its time is up) | cancel
-- ARGV[2]    lifetime    of the record from now, ms
-- ARGV[3]    event id    of its first fact; the next are "<event id>.2" ...
-- ARGV[4]    rest        " key=value ..." for the facts
-- ARGV[5]    parts       as the caller knows them; a record that says otherwise answers `changed`
-- ARGV[6]    known       without a record: 1 when SQL says that it was charged, else 0
-- ARGV[7+]   per allowance: micro-units to give back, integer 0 .. 9e15
-- reply      word (done|again|unknown|changed|kept), state of the record
local lost = fenced(KEYS[1])
if lost then return lost end
local act, lifetime_ms = ARGV[1], whole(ARGV[2])
local STATES = { refund = 'refunded', settle = 'settled', release = 'released', sweep = 'released', cancel = 'cancelled' }
if not STATES[act] or not lifetime_ms or lifetime_ms < 1 then return redis.error_reply('INVALID act') end
local now = now_us()
local record = read_request(redis.call('GET', KEYS[5]))
if not record and ARGV[6] == '1' then record = { state = 'charged', event = '-', after = '0', text = ARGV[5] } end
local requests = open_requests(KEYS[3], now)

local function remember(event, after, parts)
  save_request(requests, KEYS[5], STATES[act] .. ' ' .. event .. ' ' .. after .. ' ' .. parts, lifetime_ms, now)
  save_requests(requests)
end

if not record then
  if act ~= 'cancel' then return { 'unknown', 'unknown' } end
  remember('-', '0', '-')
  return { 'done', 'cancelled' }
end
if record.state ~= 'charged' and record.state ~= 'held' then return { 'again', record.state } end
if record.text ~= ARGV[5] then return { 'changed', record.state } end
if act == 'sweep' then
  local due = tonumber(redis.call('ZSCORE', KEYS[4], KEYS[5]) or nil)
  if not due or due > now then return { 'kept', record.state } end
end

local MOST = 2000000000000000 -- SQL keeps every micro-unit up to here
local facts, opened = {}, {}
for number = 1, #KEYS - 5 do
  local it, back = open_allowance(KEYS[5 + number], now), whole(ARGV[6 + number])
  if not back then return redis.error_reply('INVALID units') end
  if it.seq then back = math.min(back, MOST - it.remaining) end
  -- A settlement is recorded also when nothing goes back: SQL must know that nothing is held any more.
  if it.seq and it.metered and (back > 0 or act == 'settle') then
    local event = #facts == 0 and ARGV[3] or ARGV[3] .. '.' .. (#facts / 2 + 1)
    post(it, facts, event, 'refund', back, ARGV[4], now)
    opened[#opened + 1] = it
  end
end
append(KEYS[1], KEYS[2], facts)
for _, it in ipairs(opened) do save_allowance(it) end
redis.call('ZREM', KEYS[4], KEYS[5])
remember(record.event, record.after, record.text)
return { 'done', STATES[act] }
