-- Tells subscribers of changes, with a number that shows whether one was missed. KEYS: the numbers. ARGV: channel, sender,
-- names.
local number = redis.pcall('INCR', KEYS[1])
if type(number) == 'table' then
  -- a full server refuses what may take memory, unless the script has deleted something before
  number = (tonumber(redis.call('GET', KEYS[1])) or 0) + 1
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], string.format('%.0f', number))
end
redis.call('PUBLISH', ARGV[1], string.format('%.0f', number) .. '\n' .. ARGV[2] .. '\n' .. ARGV[3])
return number
