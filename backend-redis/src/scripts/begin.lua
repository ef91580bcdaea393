-- Announces a load, after one more look. The fence is named by this execution (mode, the client's nonce, the server's time):
-- a command that arrives twice makes another fence, never again one that an invalidation has ended.
-- KEYS: value, fence, guards. ARGV: mode and the client's nonce, lease in ms, the ledger's identity as the header has it ('' to
-- take any value for a hit), 1 to look for no value.
-- Answers {1, value, now} | {2, own fence, now} | {3, standing fence, now} | {4, ms left, now} | {5, 0, now} when a write is
-- under way, or the server takes no more (`maxmemory`, `noeviction`); now in microseconds.
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
if type(standing) ~= 'string' then
  local own = ARGV[1] .. string.format('%08x%08x', time[1], time[2])
  local set = redis.pcall('SET', KEYS[2], own, 'PX', ARGV[2])
  if set.err then
    -- nothing is stored, as below a guard: no failure, since invalidations are still acknowledged
    return string.find(set.err, 'OOM', 1, true) and {5, 0, now} or set
  end
  return {2, own, now}
end
local left = redis.call('PTTL', KEYS[2])
-- prevents: a loader that waits for its own fence, since the client library sent the announcement twice
local is_own = string.sub(standing, 1, #ARGV[1]) == ARGV[1]
if not is_own and (string.sub(standing, 1, 1) == 'x' or string.sub(ARGV[1], 1, 1) == 'x') then
  return {4, left, now}
end
if left < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {is_own and 2 or 3, standing, now}
