-- The head of a namespace's ledger, made when there is none: 'identity:count'. The identity is of this execution: a command
-- that arrives twice never makes the same ledger again, with its tags forgotten.
-- KEYS: head, tags. ARGV: a number of the client's to make an identity of.
local head = redis.pcall('GET', KEYS[1])
if type(head) ~= 'string' then
  local time = redis.call('TIME')
  head = string.sub(redis.sha1hex(ARGV[1] .. time[1] .. '.' .. time[2]), 1, 16) .. ':0'
  -- a full server refuses what may take memory, unless the script has deleted something before
  redis.call('DEL', KEYS[2])
  redis.call('SET', KEYS[1], head)
end
return head
