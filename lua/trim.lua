-- trim: drop the oldest journal entries once SQL has committed them. It drops nothing unless the first and the last
-- entry are the ones that were read: a Redis that fell back to an older state may hold other facts under these ids.
-- It does not look at the marker: recovery drains the journal before the marker is written.
-- uses       fence
-- flags      allow-oom
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:journal         stream
-- ARGV[1]    first        event id of the first fact of the first entry
-- ARGV[2]    last         event id of the first fact of the last entry
-- ARGV[3]    stream id    of the last entry
-- ARGV[4]    after        the stream id that follows it
-- ARGV[5]    facts        how many facts the entries hold
-- reply      entries dropped, or -1 when they are not the ones that were read
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])[1]
if not oldest or not newest or oldest[2][1] ~= ARGV[1] or newest[2][1] ~= ARGV[2] then return -1 end
local dropped = redis.call('XTRIM', KEYS[2], 'MINID', ARGV[4])
local backlog = whole(redis.call('HGET', KEYS[1], 'backlog') or '0')
local left = math.max(0, backlog - (whole(ARGV[5]) or 0))
if redis.call('XLEN', KEYS[2]) == 0 then left = 0 end
redis.call('HSET', KEYS[1], 'backlog', digits(left))
return dropped
