-- The budgets of Flickr requests and the circuit breakers, as scripts see them. Comes after lane/keys.lua and
-- sliding_log/sliding_log.lua. A script that asks for room needs `window_of_app` and `window_of_user` too: how many jobs
-- are in the window of all queues, each of which will make at least one request.

local SERVER = PREFIX .. 'budget:server'
local SETTINGS = PREFIX .. 'budget:settings'
local APPS = PREFIX .. 'apps'

-- What holds until a dispatcher has written the settings. Milliseconds, except for `user`, `requests` and `percent`.
local DEFAULTS = {
  span = 3615000, user = 3500, opening = 10000, longest = 300000,
  window = 30000, requests = 20, percent = 50, lease = 60000,
}
local DEFAULT_APP_LIMIT = 3600
-- When to ask again where no time is known: while budgets are rebuilt, while a probe is out, while all that is left of a
-- budget is meant for jobs in the window.
local LOOK_AGAIN = 500

local known_settings = {}
local function setting(name)
  local known = known_settings[name]
  if not known then
    known = tonumber(redis.call('HGET', SETTINGS, name) or DEFAULTS[name])
    known_settings[name] = known
  end
  return known
end

local function app_limit(app)
  return tonumber(redis.call('HGET', APPS, app) or DEFAULT_APP_LIMIT)
end

-- Thousandths of an application's budget that jobs leave to the steps of signing in, for which a person waits.
local RESERVE = 3

local function limit_of_jobs(app)
  local limit = app_limit(app)
  return limit - math.floor(limit * RESERVE / 1000)
end

local function app_log_key(app)
  return PREFIX .. 'budget:app:' .. app
end

local function user_log_key(user)
  return PREFIX .. 'budget:user:' .. user
end

-- A start of the server, and so also its identity: a failover, or a restart that may have lost the last second.
local function run_of_server()
  local info = redis.call('INFO', 'server')
  local _, before = string.find(info, 'run_id:', 1, true)
  return string.sub(info, before + 1, before + 40)
end

-- Whether the logs hold every request of the last span: nothing was lost since they were rebuilt.
local known_whole
-- A caller that knows the run of its server spares the asking, which costs more than the rest.
local function budgets_are_whole(run)
  if known_whole == nil then
    known_whole = redis.call('GET', SERVER) == (run or run_of_server())
  end
  return known_whole
end

-- The circuit of the queue's endpoint: photos have a host of their own at Flickr.
local function circuit_key(app, endpoint)
  return PREFIX .. 'breaker:' .. app .. ':' .. endpoint
end

local function endpoint_of_queue()
  if QUEUE == 'flickr_upload' or QUEUE == 'flickr_replace' then
    return 'upload'
  end
  return 'rest'
end

-- 'closed'; 'due' when the next request is the probe; 'open' or 'half' with the time until which it is so.
local function stance(circuit, time)
  local fields = redis.call('HMGET', circuit, 'state', 'until')
  if not fields[1] then
    return 'closed'
  end
  local ends = tonumber(fields[2])
  if time >= ends then
    return 'due'
  end
  return fields[1], ends
end

-- How many of the requests that a log leaves may be released, `planned` ones being on their way already; and, when that
-- is none, when to ask again.
local function room_of(key, limit, planned)
  local log = log_read(key, now(), setting('span'))
  if log.count >= limit then
    return 0, log_frees(log, log.count - limit + 1)
  end
  local room = limit - log.count - planned
  if room > 0 then
    return room
  end
  return 0, now() + LOOK_AGAIN
end

-- Requests that may be released now for an application to the endpoint of this queue; when that is 0, also the time in
-- milliseconds since 1970 at which to ask again.
local function app_room(app)
  local time = now()
  if not budgets_are_whole() then
    return 0, time + LOOK_AGAIN
  end
  local state, ends = stance(circuit_key(app, endpoint_of_queue()), time)
  if state == 'open' then
    return 0, ends
  elseif state == 'half' then
    return 0, math.min(ends, time + LOOK_AGAIN)
  end
  local room, at = room_of(app_log_key(app), limit_of_jobs(app), window_of_app(app))
  if state == 'due' then
    room = math.min(room, 1)
  end
  return room, at
end

-- The same for a user's token.
local function user_room(_, user)
  if not budgets_are_whole() then
    return 0, now() + LOOK_AGAIN
  end
  return room_of(user_log_key(user), setting('user'), window_of_user(user))
end
