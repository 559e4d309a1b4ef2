-- record: journal facts about work that has no lease, such as the traces of limited calls.
-- uses       fence journal
-- KEYS[1]    qf:{p0}:meta            hash    the marker
-- KEYS[2]    qf:{p0}:journal         stream
-- ARGV[1]    backlog_max  facts; at this many the call is refused
-- ARGV[2+]   per fact two values: event id, fact text
-- reply      facts written; 0 when the backlog is full
local lost = fenced(KEYS[1])
if lost then return lost end
local backlog_max = whole(ARGV[1])
if not backlog_max or #ARGV < 3 or #ARGV % 2 == 0 then return redis.error_reply('INVALID facts') end
local backlog = whole(redis.call('HGET', KEYS[1], 'backlog') or '0')
if backlog >= backlog_max then return 0 end
append(KEYS[1], KEYS[2], { unpack(ARGV, 2) })
return (#ARGV - 1) / 2
