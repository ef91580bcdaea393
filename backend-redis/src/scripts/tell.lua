-- Tells subscribers of changes, with a number that shows whether one was missed. KEYS: the numbers. ARGV: channel, sender,
-- names.
local number = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], string.format('%.0f', number) .. '\n' .. ARGV[2] .. '\n' .. ARGV[3])
return number
