-- release: give back units that were granted to callers who are gone. Never more than the capacity.
-- Repeating a call gives nothing back again.
-- uses       fence bucket opened
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta                        hash    the marker
-- KEYS[2]    qf:{p0}:returned:<id of the call>   string  that it was done, kept 60 s
-- KEYS[3+]   per item, two keys: qf:{p0}:quota:<id> hash, qf:{p0}:level:<id>[:<key>] string
-- ARGV[1+]   per item: micro-units to give back, integer 0 .. 9e15
-- reply      items given back
local lost = fenced(KEYS[1])
if lost then return lost end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local now, given = now_us(), 0
local items = {}
for number = 1, (#KEYS - 2) / 2 do
  local units = whole(ARGV[number])
  if not units then return redis.error_reply('INVALID units') end
  redis.call('HLEN', KEYS[1 + number * 2])
  items[number] = units
end
redis.call('SET', KEYS[2], '1', 'PX', 60000)
for number, units in ipairs(items) do
  local quota_key, level_key = KEYS[1 + number * 2], KEYS[2 + number * 2]
  local quota, stored = open_quota(quota_key), redis.call('GET', level_key)
  if quota.known and stored then -- a level that is missing is full
    local bucket = open_bucket(quota, level_key, stored, now)
    local level = math.min(bucket.capacity, bucket.level + units)
    local full_us = wait_for(bucket.capacity, bucket.capacity, bucket.rate, level, bucket.at, now)
    save_level(quota, level_key, level, bucket.at, full_us)
    given = given + 1
  end
end
return given
