-- The head of a namespace's ledger, made when there is none: 'identity:count'.
-- KEYS: head, tags. ARGV: an identity to use if one must be made.
local head = redis.pcall('GET', KEYS[1])
if type(head) ~= 'string' then
  head = ARGV[1] .. ':0'
  redis.call('SET', KEYS[1], head)
  redis.call('DEL', KEYS[2])
end
return head
