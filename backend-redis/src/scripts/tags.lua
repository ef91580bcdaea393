-- Works on a namespace's tags, after making sure that head and tags are of one ledger: a part that was evicted alone
-- ends the whole, since a missing tag would look like one that was never invalidated.
-- The identity of a ledger is of the execution that makes it: a command that arrives twice never makes the same one again.
-- KEYS: head, tags. ARGV: a number of the client's to make an identity of, what to do, its arguments.
local head, tags = KEYS[1], KEYS[2]
local found = redis.pcall('GET', head)
local id, count
if type(found) == 'string' then
  id, count = string.sub(found, 1, 16), tonumber(string.sub(found, 18))
end
if not count or (count > 0 and redis.pcall('HGET', tags, 'id') ~= id) then
  local time = redis.call('TIME')
  id, count = string.sub(redis.sha1hex(ARGV[1] .. time[1] .. '.' .. time[2]), 1, 16), 0
  redis.call('DEL', tags)
  redis.call('SET', head, id .. ':0')
end
local function number(value)
  return string.format('%.0f', value)
end
local what = ARGV[2]
if what == 'invalidate' then
  count = count + 1
  -- a full server refuses what may take memory, unless the script has deleted something before
  redis.call('HDEL', tags, '#' .. number(count % 128))
  redis.call('HSET', tags, 'id', id)
  for index = 3, #ARGV do
    redis.call('HSET', tags, ARGV[index], number(count))
  end
  -- the last invalidations, for those who follow them: one more than there is room for takes the place of the oldest
  redis.call('HSET', tags, '#' .. number(count % 128), number(count) .. '\n' .. table.concat(ARGV, '\n', 3))
  redis.call('SET', head, id .. ':' .. number(count))
  return id .. ':' .. number(count)
end
local floor = redis.call('HGET', tags, 'floor') or '0'
if what == 'view' then
  local answer = {id .. ':' .. number(count)}
  for index = 3, #ARGV do
    answer[#answer + 1] = redis.call('HGET', tags, ARGV[index]) or floor
  end
  return answer
end
if what == 'since' then
  -- whether all are known, then each invalidation
  local answer = {id .. ':' .. number(count), 1}
  local since = tonumber(ARGV[4])
  if id ~= ARGV[3] or count - since > 128 then
    return {answer[1], 0}
  end
  for missed = since + 1, count do
    local told = redis.call('HGET', tags, '#' .. number(missed % 128)) or ''
    if string.match(told, '^%d+') ~= number(missed) then
      return {answer[1], 0}
    end
    answer[#answer + 1] = told
  end
  return answer
end
if what == 'lives' then
  -- the longest life of an entry with tags, in milliseconds
  if tonumber(redis.call('HGET', tags, 'life') or 0) < tonumber(ARGV[3]) then
    redis.call('HSET', tags, 'id', id, 'life', ARGV[3])
  end
  return 1
end
-- prune: the floor first, then a piece of the tags a call. Answers the place to go on at, 0 at the end, and how many went;
-- nothing goes if entries live longer than the caller knows of, and the third answer is their life.
-- Prevents: a server that answers nobody else while it looks through a million tags.
local upto, place = math.min(tonumber(ARGV[3]), count), ARGV[4]
local life = redis.call('HGET', tags, 'life') or '0'
if tonumber(life) > tonumber(ARGV[5]) then
  return {'0', 0, tonumber(life)}
end
if place == '0' then
  if upto <= tonumber(floor) then
    -- another process has done it
    return {'0', 0}
  end
  redis.call('HDEL', tags, 'floor')
  redis.call('HSET', tags, 'id', id, 'floor', number(upto))
end
local pruned, found = 0, redis.call('HSCAN', tags, place, 'COUNT', 500)
for index = 1, #found[2], 2 do
  if string.find(found[2][index], ':', 1, true) and tonumber(found[2][index + 1]) <= upto then
    pruned = pruned + redis.call('HDEL', tags, found[2][index])
  end
end
return {found[1], pruned}
