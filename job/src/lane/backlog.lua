-- Answers {the generation or false, jobs, reserved, delayed, in the window, jobs in parked lanes} at one moment, and changes
-- nothing, so that a replica can answer too. ARGV[3] is the most parked lanes to look at.
local MEMBERS_AT_A_TIME = 500

local parked = 0
local lanes = redis.call('ZRANGE', PARKED, 0, tonumber(ARGV[3]) - 1)
for first = 1, #lanes, MEMBERS_AT_A_TIME do
  local last = math.min(first + MEMBERS_AT_A_TIME - 1, #lanes)
  for _, jobs in ipairs(redis.call('ZMSCORE', SIZES, unpack(lanes, first, last))) do
    parked = parked + (tonumber(jobs or '0') or 0)
  end
end
return {
  redis.call('GET', LANES_PREFIX .. 'generation'),
  queue_size(),
  redis.call('ZCARD', RESERVED),
  redis.call('ZCARD', DELAYED),
  redis.call('ZCARD', INFLIGHT),
  parked,
}
