-- The names of the keys, and the moves of one job between them. Every script begins with this part.
-- ARGV[1] is the prefix of all keys, ARGV[2] the queue; the rest is the script's own.
-- A script that fails half-way is not undone: it enters a job where it goes before it removes it where it was, since a
-- job in two places is only offered twice, and one in none waits for the next reconciliation.
-- The keys are made here and not passed: a lane's name is known only once its user is, and behind Sentinel there
-- are no hash slots to which keys would have to belong.

local PREFIX, QUEUE = ARGV[1], ARGV[2]

-- The number is that of the layout, which lanes.rs knows too.
local LANES_PREFIX = PREFIX .. '2:'

local SIZE = LANES_PREFIX .. 'size:' .. QUEUE
local ENTRIES = LANES_PREFIX .. 'entries:' .. QUEUE
local RESERVED = LANES_PREFIX .. 'reserved:' .. QUEUE
local DELAYED = LANES_PREFIX .. 'delayed:' .. QUEUE
local INFLIGHT = LANES_PREFIX .. 'inflight:' .. QUEUE
local PARKED = LANES_PREFIX .. 'parked:' .. QUEUE
local SHIFTS = LANES_PREFIX .. 'shifts:' .. QUEUE
local SIZES = LANES_PREFIX .. 'sizes:' .. QUEUE
local CREDITS = LANES_PREFIX .. 'credits:' .. QUEUE
local VTIME = LANES_PREFIX .. 'vtime:' .. QUEUE
local WAKE = LANES_PREFIX .. 'wake:' .. QUEUE
local WINDOW_APP = LANES_PREFIX .. 'window_app'
local WINDOW_USER = LANES_PREFIX .. 'window_user'

local function pending_key(user)
  return LANES_PREFIX .. 'pending:' .. user
end

local function lane_key(app, user)
  return LANES_PREFIX .. 'lane:' .. QUEUE .. ':' .. app .. ':' .. user
end

local function lanes_key(app)
  return LANES_PREFIX .. 'lanes:' .. QUEUE .. ':' .. app
end

local function passes_key(app)
  return LANES_PREFIX .. 'passes:' .. QUEUE .. ':' .. app
end

-- What a lane is called where lanes of several applications are together. The name of an application has no colon.
local function lane_name(app, user)
  return app .. ':' .. user
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

-- The score in the lane, the application and the user, from an entry.
local function parse_entry(entry)
  return string.match(entry, '^([^|]*)|([^|]*)|(.*)$')
end

-- The score, the application and the user of a job outside its lane, or nothing when none is known.
local function read_entry(job)
  local entry = redis.call('HGET', ENTRIES, job)
  if entry then
    return parse_entry(entry)
  end
end

-- Jobs of the queue that have a place, wherever they are.
local function queue_size()
  return tonumber(redis.call('GET', SIZE) or '0')
end

-- Whether a job has a place.
local function has_place(job, user)
  return redis.call('ZSCORE', pending_key(user), job) ~= false
end

-- Counts a job, once.
local function count_in(job, user, accepted)
  if redis.call('ZADD', pending_key(user), 'NX', accepted, job) == 1 then
    redis.call('INCR', SIZE)
  end
end

-- Takes the place of a job that goes somewhere else than into its lane and was not in the window.
local function take_place(job, user, accepted, entry)
  count_in(job, user, accepted)
  redis.call('HSET', ENTRIES, job, entry)
end

local function give_place(job, user)
  if redis.call('ZREM', pending_key(user), job) == 1 and redis.call('DECR', SIZE) <= 0 then
    redis.call('DEL', SIZE)
  end
  redis.call('HDEL', ENTRIES, job)
end

-- Jobs of an application that are in the window of any queue.
local function window_of_app(app)
  return tonumber(redis.call('HGET', WINDOW_APP, app) or '0')
end

-- Jobs of a user that are in the window of any queue.
local function window_of_user(user)
  return tonumber(redis.call('HGET', WINDOW_USER, user) or '0')
end

local function count_window(key, field, change)
  if redis.call('HINCRBY', key, field, change) <= 0 then
    redis.call('HDEL', key, field)
  end
end

-- Puts a job into the window until a time; its entry must be there and stay the same until it leaves.
local function enter_window(job, app, user, ends)
  if redis.call('ZADD', INFLIGHT, ends, job) == 1 then
    count_window(WINDOW_APP, app, 1)
    count_window(WINDOW_USER, user, 1)
  end
end

local function leave_window(job)
  if redis.call('ZREM', INFLIGHT, job) == 1 then
    local _, app, user = read_entry(job)
    if user then
      count_window(WINDOW_APP, app, -1)
      count_window(WINDOW_USER, user, -1)
    end
  end
end

-- The virtual time in passes of an application: where a lane that opens begins. An application that stood still,
-- because it had no room while others went on, has its own time, which is the least of its passes.
local function clock_of(app)
  local clock = tonumber(redis.call('GET', VTIME) or '0') - tonumber(redis.call('HGET', SHIFTS, app) or '0')
  local first = redis.call('ZRANGE', lanes_key(app), 0, 0, 'WITHSCORES')
  return math.min(clock, tonumber(first[2] or clock))
end

-- A lane that is opened starts at the virtual time, or where it stopped when it is ahead of that: a user gains
-- nothing by sending one job at a time, and nothing by having been away or parked.
local function open_lane(app, user)
  local passes = passes_key(app)
  local pass = clock_of(app)
  local stopped_at = redis.call('ZSCORE', passes, user)
  redis.call('HSETNX', SHIFTS, app, '0')
  redis.call('ZADD', lanes_key(app), whole(math.max(pass, tonumber(stopped_at or '0'))), user)
  redis.call('ZREM', passes, user)
end

local function enter_lane(job, score, app, user)
  local lane, name = lane_key(app, user), lane_name(app, user)
  redis.call('ZADD', lane, score, job)
  redis.call('ZADD', SIZES, redis.call('ZCARD', lane), name)
  if not redis.call('ZSCORE', lanes_key(app), user) and not redis.call('ZSCORE', PARKED, name) then
    open_lane(app, user)
  end
end

-- Closes a lane that holds no job any more; `pass` is where it stopped, if it was open.
local function close_lane(app, user, pass)
  local name = lane_name(app, user)
  if pass then
    redis.call('ZADD', passes_key(app), pass, user)
    redis.call('ZREM', lanes_key(app), user)
  else
    redis.call('ZREM', PARKED, name)
  end
  redis.call('ZREM', SIZES, name)
  redis.call('HDEL', CREDITS, name)
end

-- Brings the sets of lanes up to date after a job left the lane. A parked lane has left its pass behind already.
local function after_leaving(app, user)
  local length = redis.call('ZCARD', lane_key(app, user))
  if length > 0 then
    redis.call('ZADD', SIZES, length, lane_name(app, user))
  else
    close_lane(app, user, redis.call('ZSCORE', lanes_key(app), user))
  end
end

local function leave_lane(job, app, user)
  if redis.call('ZREM', lane_key(app, user), job) == 1 then
    after_leaving(app, user)
  end
end

-- One element is enough: who takes it looks at everything, and takes again until nothing is left.
local function wake()
  if redis.call('LLEN', WAKE) == 0 then
    redis.call('LPUSH', WAKE, '1')
  end
end

-- A place in the window is worth a look only if a lane waits for one.
local function wake_if_lanes_wait()
  if redis.call('ZCARD', SIZES) > redis.call('ZCARD', PARKED) then
    wake()
  end
end
