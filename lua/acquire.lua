-- acquire: take units if every quota of a request has enough; otherwise take none. Cost 0 looks without taking.
-- Requests are decided in the order given; a refusal does not block the later ones.
-- uses       fence bucket counters
-- KEYS[1]    qf:{p0}:meta           hash    the marker
-- KEYS[2+]   per slot, three keys:
--            qf:{p0}:quota:<id>     hash    the definition; counters allowed, limited, clock_jumps
--            qf:{p0}:level:<id>     string  "<level in micro-units> <at_us>"
--            qf:{p0}:refused:<id>   stream  the newest 1,000 refusals
-- ARGV[1+]   per request: the number of its quotas, then for each
--            slot        1-based index into the slots above
--            cost        micro-units, integer 0 .. 9e15
-- reply      per request five values: reason (granted|limited|impossible|disabled|missing), slot that decided,
--            remaining micro-units, retry_after_us (-1 = never), reset_after_us (-1 = never)
local lost = fenced(KEYS[1])
if lost then return lost end
local now = now_us()

local buckets, touched = {}, {}
for slot = 1, (#KEYS - 1) / 3 do
  local first = slot * 3 - 1
  buckets[slot] = open_bucket(KEYS[first], KEYS[first + 1], now) or false
  redis.call('XLEN', KEYS[first + 2]) -- a wrong type fails here, before anything is written
  touched[slot] = { allowed = 0, limited = 0, taken = false, retry = 0 }
end

local requests, index = {}, 1
while index <= #ARGV do
  local count = whole(ARGV[index])
  if not count or count < 1 then return redis.error_reply('INVALID count of quotas') end
  local request = {}
  for item = 1, count do
    local slot, cost = whole(ARGV[index + item * 2 - 1]), whole(ARGV[index + item * 2])
    if not slot or buckets[slot] == nil or not cost then return redis.error_reply('INVALID slot or cost') end
    request[item] = { slot = slot, cost = cost }
  end
  requests[#requests + 1] = request
  index = index + 1 + count * 2
end

-- What is hardest to overcome decides: a missing or disabled quota, then an impossible cost, then the longest wait.
local function judge(request)
  local worst, severity, longest = nil, 0, -1
  for _, want in ipairs(request) do
    local bucket = buckets[want.slot]
    if not bucket then return 'missing', want, -1 end
    local word = verdict(bucket, want.cost)
    local wait = wait_for(bucket, want.cost, now)
    local rank = ({ granted = 0, limited = 1, impossible = 2, disabled = 3 })[word]
    local weight = wait < 0 and FOREVER or wait
    if not worst or rank > severity or (rank == severity and rank == 1 and weight > longest)
      or (rank == severity and rank == 0 and bucket.level - want.cost < buckets[worst.slot].level - worst.cost) then
      worst, severity, longest = want, rank, weight
    end
  end
  return ({ [0] = 'granted', 'limited', 'impossible', 'disabled' })[severity], worst,
    wait_for(buckets[worst.slot], worst.cost, now)
end

local reply = {}
for _, request in ipairs(requests) do
  local word, decider, wait = judge(request)
  local bucket = buckets[decider.slot]
  if word == 'granted' then
    for _, want in ipairs(request) do
      if want.cost > 0 then
        buckets[want.slot].level = buckets[want.slot].level - want.cost
        touched[want.slot].taken = true
        touched[want.slot].allowed = touched[want.slot].allowed + 1
      end
    end
  elseif bucket and decider.cost > 0 then
    touched[decider.slot].limited = touched[decider.slot].limited + 1
    touched[decider.slot].word, touched[decider.slot].retry = word, wait
  end
  reply[#reply + 1] = word
  reply[#reply + 1] = decider.slot
  reply[#reply + 1] = bucket and bucket.level or 0
  reply[#reply + 1] = word == 'disabled' and -1 or wait
  reply[#reply + 1] = bucket and wait_for(bucket, bucket.capacity, now) or -1
end

for slot, count in ipairs(touched) do
  local first = slot * 3 - 1
  if count.taken or (buckets[slot] and buckets[slot].jumped) then save_bucket(buckets[slot], KEYS[first + 1]) end
  note_decisions(KEYS[first], KEYS[first + 2], buckets[slot], count, now)
end
return reply
