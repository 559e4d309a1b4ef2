-- Write down what was decided: the counters of the quota, and one line for the refusals of this call.
-- `count` has allowed, limited, word and retry (of the last refusal, microseconds or -1).
local function note_decisions(quota_key, refused_key, bucket, count, now)
  if not bucket then return end
  if bucket.jumped then redis.call('HINCRBY', quota_key, 'clock_jumps', 1) end
  if count.allowed > 0 then redis.call('HINCRBY', quota_key, 'allowed', digits(count.allowed)) end
  if count.limited > 0 then
    redis.call('HINCRBY', quota_key, 'limited', digits(count.limited))
    redis.call('XADD', refused_key, 'MAXLEN', '~', '1000', '*', 'count', digits(count.limited), 'reason', count.word,
      'at_us', digits(now), 'retry_after_us', digits(count.retry))
    redis.call('EXPIRE', refused_key, 604800)
  end
end
