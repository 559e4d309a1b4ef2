-- Write down what was decided on a quota: its counters, and one line for the refusals of this call.
-- Counts are of one call, too small to need `digits`.
local function note_decisions(quota_key, refused_key, quota, now)
  if not quota.known then return end
  if quota.jumps > 0 then redis.call('HINCRBY', quota_key, 'clock_jumps', quota.jumps) end
  if quota.allowed > 0 then redis.call('HINCRBY', quota_key, 'allowed', quota.allowed) end
  if quota.limited > 0 then
    redis.call('HINCRBY', quota_key, 'limited', quota.limited)
    redis.call('XADD', refused_key, 'MAXLEN', '~', '1000', '*', 'count', quota.limited, 'reason', quota.word,
      'at_us', digits(now), 'retry_after_us', digits(quota.retry))
    redis.call('EXPIRE', refused_key, 604800)
  end
end

-- Count callers who were refused, and why the last of them were. A look (cost 0) is nothing to count.
local function refused(quota, cost, count, word, wait)
  if count > 0 and cost > 0 and quota.known then
    quota.limited, quota.word, quota.retry = quota.limited + count, word, wait
  end
end
