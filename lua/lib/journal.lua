-- Append facts, given as event id, text, event id, text ..., to the journal and count them.
local function append(marker, stream, facts)
  if #facts == 0 then return end
  redis.call('XADD', stream, '*', unpack(facts))
  redis.call('HINCRBY', marker, 'backlog', digits(#facts / 2))
end
