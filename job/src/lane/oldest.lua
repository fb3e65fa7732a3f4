-- How long the oldest jobs have waited, in milliseconds.

-- Of so many of the longest lanes the oldest jobs are looked at: a job that waits long is in one of them.
local LONGEST = 5

local function age_since(accepted)
  return math.max(0, now() - accepted)
end

local function oldest_of_user(user)
  local oldest = redis.call('ZRANGE', pending_key(user), 0, 0, 'WITHSCORES')
  return age_since(tonumber(oldest[2] or '0'))
end

-- About so long: it is the oldest of some jobs that wait in lanes.
local function oldest_of_queue()
  local oldest = 0
  for _, name in ipairs(redis.call('ZREVRANGE', SIZES, 0, LONGEST - 1)) do
    local app, user = string.match(name, '^([^:]*):(.*)$')
    local first = redis.call('ZRANGE', lane_key(app, user), 0, 0, 'WITHSCORES')
    oldest = math.max(oldest, first[2] and age_since(accepted_at(tonumber(first[2]))) or 0)
  end
  return oldest
end
