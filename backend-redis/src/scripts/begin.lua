-- Announces a load, after one more look.
-- KEYS: value, fence, guards. ARGV: own fence (mode and nonce), lease in ms, the ledger's identity as the header has it ('' to
-- take any value for a hit), 1 to look for no value.
-- Answers {1, value, now} | {2, own fence, now} | {3, standing fence, now} | {4, ms left, now} | {5, 0, now} when a write is
-- under way; now in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if ARGV[4] == '0' then
  local value = redis.pcall('GET', KEYS[1])
  if type(value) == 'string' and (ARGV[3] == '' or string.sub(value, 57, 64) == ARGV[3]) then
    return {1, value, now}
  end
end
if redis.call('ZCOUNT', KEYS[3], '(' .. math.floor(now / 1000), '+inf') > 0 then
  return {5, 0, now}
end
local standing = redis.pcall('GET', KEYS[2])
if type(standing) ~= 'string' or standing == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return {2, ARGV[1], now}
end
local left = redis.call('PTTL', KEYS[2])
if string.sub(standing, 1, 1) == 'x' or string.sub(ARGV[1], 1, 1) == 'x' then
  return {4, left, now}
end
if left < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {3, standing, now}
