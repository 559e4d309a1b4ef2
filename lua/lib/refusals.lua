-- Write down the refusals of an allowance, which keeps `allowed` itself.
local function note_refused(it, refused_key, now)
  if not it.seq or it.limited == 0 then return end
  local refusals = { known = true, jumps = 0, allowed = 0, limited = it.limited, word = it.word, retry = it.retry }
  note_decisions(it.key, refused_key, refusals, now)
end
