-- Replies to a batch, which are kept on its lane.

-- Whether what a lane keeps is the reply to this batch: it was decided before.
local function is_reply(kept, batch)
  return kept and string.find(kept, '[' .. batch .. ',', 1, true) == 1
end

-- What is told of some requests in a row, whose buckets were found alike.
local function told(requests, level, reset)
  return string.format('[%d,%d,%d]', requests, level, reset)
end

-- Write down what was decided, and keep the reply before it is given: who does not hear it asks again.
local function answer(batch, quotas, reply, others, now)
  for number = 1, #quotas do
    if quotas[number].limited > 0 then redis.call('XLEN', KEYS[2 + number * 2]) end -- a wrong type fails before any write
  end
  for number = 1, #quotas do
    save_levels(quotas[number])
    note_decisions(quotas[number].key, KEYS[2 + number * 2], quotas[number], now)
  end
  local text = '[' .. batch .. ',[' .. table.concat(reply, ',') .. '],[' .. table.concat(others, ',') .. ']]'
  redis.call('SET', KEYS[2], text, 'PX', '60000')
  return text
end
