-- The names of the keys, and the moves of one job between them. Every script begins with this part.
-- ARGV[1] is the prefix of all keys, ARGV[2] the queue; the rest is the script's own.
-- A script that fails half-way (Redis out of memory) is not undone: it enters a job where it goes before it removes it
-- where it was, since a job in two places is only offered twice, and one in none waits for the next reconciliation.
-- The keys are made here and not passed: a lane's name is known only once its user is, and behind Sentinel there
-- are no hash slots to which keys would have to belong.

local PREFIX, QUEUE = ARGV[1], ARGV[2]

local JOBS = PREFIX .. 'jobs:' .. QUEUE
local ENTRIES = PREFIX .. 'entries:' .. QUEUE
local RESERVED = PREFIX .. 'reserved:' .. QUEUE
local DELAYED = PREFIX .. 'delayed:' .. QUEUE
local INFLIGHT = PREFIX .. 'inflight:' .. QUEUE
local LANES = PREFIX .. 'lanes:' .. QUEUE
local PASSES = PREFIX .. 'passes:' .. QUEUE
local SIZES = PREFIX .. 'sizes:' .. QUEUE
local VTIME = PREFIX .. 'vtime:' .. QUEUE
local WAKE = PREFIX .. 'wake:' .. QUEUE

-- What one release adds to the pass of a lane of weight 1. A lane of weight w pays STRIDE / w, so weights go up to
-- STRIDE. Passes stay whole numbers below 2^53, at which doubles end to be exact, for 9 * 10^11 releases of one lane.
local STRIDE = 10000

local function pending_key(user)
  return PREFIX .. 'pending:' .. user
end

local function lane_key(user)
  return PREFIX .. 'lane:' .. QUEUE .. ':' .. user
end

-- Lua would write a large number with an exponent and 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- Milliseconds since 1970 by the clock of Redis, the same during one script.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The score in the lane, the weight and the user of a job, or nothing when it is not known.
local function read_entry(job)
  local entry = redis.call('HGET', ENTRIES, job)
  if entry then
    return string.match(entry, '^([^|]*)|([^|]*)|(.*)$')
  end
end

local function take_place(job, user, accepted, entry)
  redis.call('ZADD', pending_key(user), 'NX', accepted, job)
  redis.call('ZADD', JOBS, 'NX', accepted, job)
  redis.call('HSET', ENTRIES, job, entry)
end

local function give_place(job, user)
  redis.call('ZREM', pending_key(user), job)
  redis.call('ZREM', JOBS, job)
  redis.call('HDEL', ENTRIES, job)
end

-- A lane that is opened starts at the virtual time, or where it stopped when it is ahead of that: a user gains
-- nothing by sending one job at a time, and nothing by having been away.
local function enter_lane(job, score, user)
  local lane = lane_key(user)
  redis.call('ZADD', lane, score, job)
  redis.call('ZADD', SIZES, redis.call('ZCARD', lane), user)
  if not redis.call('ZSCORE', LANES, user) then
    local pass = tonumber(redis.call('GET', VTIME) or '0')
    local stopped_at = redis.call('ZSCORE', PASSES, user)
    if stopped_at then
      pass = math.max(pass, tonumber(stopped_at))
      redis.call('ZREM', PASSES, user)
    end
    redis.call('ZADD', LANES, whole(pass), user)
  end
end

-- Brings the sets of lanes up to date after a job left the lane, whose pass is given.
local function after_leaving(user, pass)
  local length = redis.call('ZCARD', lane_key(user))
  if length > 0 then
    redis.call('ZADD', LANES, pass, user)
    redis.call('ZADD', SIZES, length, user)
  else
    redis.call('ZREM', LANES, user)
    redis.call('ZREM', SIZES, user)
    redis.call('ZADD', PASSES, pass, user)
  end
end

local function leave_lane(job, user)
  if redis.call('ZREM', lane_key(user), job) == 1 then
    after_leaving(user, redis.call('ZSCORE', LANES, user) or '0')
  end
end

-- One element is enough: who takes it looks at everything, and takes again until nothing is left.
local function wake()
  if redis.call('LLEN', WAKE) == 0 then
    redis.call('LPUSH', WAKE, '1')
  end
end
