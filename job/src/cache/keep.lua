-- Ends a flight and keeps its answer. ARGV[5] is who leads, ARGV[6] the generation at the beginning of the call, ARGV[7]
-- for how long the answer is fresh, ARGV[8] for how long it is kept, both in milliseconds, ARGV[9] the bound on all
-- answers in bytes, ARGV[10] the answer.
-- Answers whether it was kept: not when another one leads by now, or the answer was invalidated, or has no room.
local holder, generation, fresh, keep = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local bound, body = tonumber(ARGV[9]), ARGV[10]

-- Most answers that one call drops, so that no call blocks Redis for long.
local BATCH = 100

local function counted(member)
  redis.call('ZREM', CACHED, member)
  return tonumber(string.match(member, ':(%d+)$'))
end

if redis.call('GET', FLIGHT) ~= holder then
  return 0
end
redis.call('DEL', FLIGHT)
if generation ~= present_generation() then
  return 0
end

local time = now()
local bytes = tonumber(redis.call('GET', BYTES) or '0')
for _, member in ipairs(redis.call('ZRANGEBYSCORE', CACHED, '-inf', whole(time), 'LIMIT', 0, BATCH)) do
  bytes = bytes - counted(member)
end
local before = redis.call('HSTRLEN', ENTRY, 'body')
if before > 0 then
  local member = HASH .. ':' .. (before + OVERHEAD)
  if redis.call('ZREM', CACHED, member) == 1 then
    bytes = bytes - before - OVERHEAD
  end
end
local size = #body + OVERHEAD
local dropped = 0
while bytes + size > bound and dropped < BATCH do
  local first = redis.call('ZRANGE', CACHED, 0, 0)[1]
  if not first then
    -- Nothing is counted, so nothing takes room, whatever the sum says.
    bytes = 0
    break
  end
  bytes = bytes - counted(first)
  redis.call('DEL', PREFIX .. 'cache:' .. string.match(first, '^(%x+):'))
  dropped = dropped + 1
end
if bytes + size > bound then
  redis.call('SET', BYTES, whole(math.max(0, bytes)))
  redis.call('DEL', ENTRY)
  return 0
end
redis.call('HSET', ENTRY, 'generation', generation, 'stored', whole(time), 'fresh', whole(time + fresh), 'body', body)
redis.call('PEXPIRE', ENTRY, whole(keep))
redis.call('ZADD', CACHED, whole(time + keep), HASH .. ':' .. size)
redis.call('SET', BYTES, whole(bytes + size))
return 1
