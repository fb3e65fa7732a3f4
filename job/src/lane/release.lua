-- Moves jobs from the lanes into the window, the lane with the least pass first (stride scheduling).
-- Answers job, user, job, user, …; the same when the same ticket asks again.
local ticket, max, window, lease = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- For how long an answer can be asked for again, in milliseconds; longer than a caller goes on asking.
local ANSWER_KEPT = 30000
-- Most jobs that one call brings back of each kind, so that no call blocks Redis for long.
local BATCH = 100

local ANSWER = PREFIX .. 'released:' .. QUEUE .. ':' .. ticket
local answered = redis.call('LRANGE', ANSWER, 0, -1)
if #answered > 0 then
  return answered
end

local time = now()

local function due(key)
  return redis.call('ZRANGEBYSCORE', key, '-inf', whole(time), 'LIMIT', 0, BATCH)
end

-- Due delays, and leases that ran out because whoever held the job died, go back to their lanes.
for _, key in ipairs({INFLIGHT, DELAYED}) do
  for _, job in ipairs(due(key)) do
    local score, _, user = read_entry(job)
    if user then
      enter_lane(job, score, user)
    end
    redis.call('ZREM', key, job)
  end
end
-- A place that was taken and never used is given back.
for _, job in ipairs(due(RESERVED)) do
  local _, _, user = read_entry(job)
  if user then
    give_place(job, user)
  end
  redis.call('ZREM', RESERVED, job)
end

local started_at = tonumber(redis.call('GET', VTIME) or '0')
local vtime = started_at
local deadline = whole(time + lease)
local room = math.min(max, window - redis.call('ZCARD', INFLIGHT))
local released = {}
while room > 0 do
  local first = redis.call('ZRANGE', LANES, 0, 0, 'WITHSCORES')
  if #first == 0 then
    break
  end
  local user, pass = first[1], tonumber(first[2])
  local job = redis.call('ZRANGE', lane_key(user), 0, 0)[1]
  if job then
    local _, weight = read_entry(job)
    redis.call('ZADD', INFLIGHT, deadline, job)
    redis.call('ZREM', lane_key(user), job)
    released[#released + 1] = job
    released[#released + 1] = user
    room = room - 1
    vtime = math.max(vtime, pass)
    pass = pass + STRIDE / tonumber(weight or '1')
  end
  after_leaving(user, whole(pass))
end

-- A pass that the virtual time has reached says nothing any more. When no lane is left nobody waited, so nobody is
-- ahead of anybody: the virtual time moves past every pass.
if redis.call('EXISTS', LANES) == 0 then
  local last = redis.call('ZRANGE', PASSES, -1, -1, 'WITHSCORES')
  vtime = math.max(vtime, tonumber(last[2] or '0'))
end
redis.call('ZREMRANGEBYSCORE', PASSES, '-inf', whole(vtime))
if vtime ~= started_at then
  redis.call('SET', VTIME, whole(vtime))
end

if #released > 0 then
  redis.call('RPUSH', ANSWER, unpack(released))
  redis.call('PEXPIRE', ANSWER, ANSWER_KEPT)
end
return released
