-- Moves jobs from the lanes into the window, the lane with the least pass first (stride scheduling).
-- Answers {wait, {job, application, user, …}}; the same jobs when the same ticket asks again. `wait` is the time in
-- milliseconds until something more may be released if nobody wakes a dispatcher before: 0 when there may be more at
-- once, -1 when nothing will ever come due by itself.
local ticket, max, window, lease = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- What one release adds to the pass of a lane of weight 1; one of weight w pays STRIDE / w. That is rounded to a whole
-- number, wrong by less than 0.05 % for weights up to 1000. Passes begin at 0 whenever nobody waits; they stay below
-- 2^53, where doubles end to be exact, for 9 * 10^9 releases without such a moment.
local STRIDE = 1000000
-- For how long an answer can be asked for again, in milliseconds; longer than a caller goes on asking.
local ANSWER_KEPT = 30000
-- Most jobs or lanes of each kind that one call brings back or parks, so that no call blocks Redis for long.
local BATCH = 100

local ANSWER = LANES_PREFIX .. 'released:' .. QUEUE .. ':' .. ticket
local answered = redis.call('LRANGE', ANSWER, 0, -1)
if #answered > 0 then
  return {0, answered}
end

local time = now()
local is_more, look_again = false, nil

local function look_again_at(at)
  at = tonumber(at)
  if at and (not look_again or at < look_again) then
    look_again = at
  end
end

-- Has `back` bring back what is due in a sorted set of times; answers the earliest time that is left.
local function bring_back_due(key, back)
  local earliest = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
  if not earliest or earliest > time then
    return earliest
  end
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', whole(time), 'LIMIT', 0, BATCH)
  for _, member in ipairs(due) do
    back(member)
  end
  is_more = is_more or #due == BATCH
  return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

local function back_into_lane(job)
  local score, app, user = read_entry(job)
  if user then
    enter_lane(job, score, app, user)
  end
end

-- Whoever held the job died: its lease ran out.
local function back_from_window(job)
  back_into_lane(job)
  leave_window(job)
  redis.call('HDEL', ENTRIES, job)
end

local function back_from_delay(job)
  back_into_lane(job)
  redis.call('ZREM', DELAYED, job)
  redis.call('HDEL', ENTRIES, job)
end

-- The place was taken and never used.
local function back_from_reservation(job)
  local _, _, user = read_entry(job)
  if user then
    give_place(job, user)
  end
  redis.call('ZREM', RESERVED, job)
end

-- The user of a parked lane may have room.
local function back_from_parking(name)
  local app, user = string.match(name, '^([^:]*):(.*)$')
  open_lane(app, user)
  redis.call('ZREM', PARKED, name)
end

local started_at, vtime = 0, 0

-- Every application with lanes in this queue, by name: its shift is what its passes are behind by in virtual time.
local function read_apps()
  local flat, apps = redis.call('HGETALL', SHIFTS), {}
  for n = 1, #flat, 2 do
    apps[#apps + 1] = {name = flat[n], shift = tonumber(flat[n + 1])}
  end
  table.sort(apps, function(one, other) return one.name < other.name end)
  return apps
end

-- Looks for the lane of an application that is next.
local function look(app)
  local first = redis.call('ZRANGE', lanes_key(app.name), 0, 0, 'WITHSCORES')
  app.user, app.pass = first[1], tonumber(first[2] or '0')
end

-- Asks for the room of an application with lanes. If the virtual time has left it behind it had no room before, for
-- else its least pass would have been served: it goes on where the others are, its users as far apart as they were.
local function ask_for_room(app)
  look(app)
  app.room = 0
  if not app.user then
    return
  end
  local room, at = app_room(app.name)
  if room <= 0 then
    look_again_at(at)
    return
  end
  app.room = room
  if app.pass + app.shift < vtime then
    app.shift = vtime - app.pass
    redis.call('HSET', SHIFTS, app.name, whole(app.shift))
  end
end

local function first_of(apps)
  local first
  for _, app in ipairs(apps) do
    if app.user and app.room > 0 and (not first or app.pass + app.shift < first.pass + first.shift) then
      first = app
    end
  end
  return first
end

-- How many jobs of each user this call has released, and up to which number each lane may go as far as it was asked.
local served, allowed = {}, {}

local is_any_parked = false

local function park(app, at)
  at = math.max(tonumber(at or time), time)
  redis.call('ZADD', PARKED, whole(at), lane_name(app.name, app.user))
  redis.call('ZADD', passes_key(app.name), whole(app.pass), app.user)
  redis.call('ZREM', lanes_key(app.name), app.user)
  is_any_parked = true
  look_again_at(at)
end

-- Whether the user at the head of an application has room; the lane is parked when not.
local function has_room(app)
  local name, count = lane_name(app.name, app.user), served[app.user] or 0
  if count < (allowed[name] or 0) then
    return true
  end
  local room, at = user_room(app.name, app.user)
  if room > 0 then
    allowed[name] = count + room
    return true
  end
  park(app, at)
  return false
end

local released = {}

-- Releases one job of the lane at the head of an application; answers how many that were: none if the lane is empty,
-- which is closed then.
local function serve(app)
  local lane, user = lane_key(app.name, app.user), app.user
  local job, score, weight, is_last = choose(app.name, user)
  if not job then
    close_lane(app.name, user, whole(app.pass))
    return 0
  end
  redis.call('HSET', ENTRIES, job, whole(score) .. '|' .. app.name .. '|' .. user)
  enter_window(job, app.name, user, whole(time + lease))
  redis.call('ZREM', lane, job)
  released[#released + 1] = job
  released[#released + 1] = app.name
  released[#released + 1] = user
  served[user] = (served[user] or 0) + 1
  look_again_at(time + lease)

  vtime = math.max(vtime, app.pass + app.shift)
  local pass = whole(app.pass + math.floor(STRIDE / weight + 0.5))
  if is_last then
    close_lane(app.name, user, pass)
  else
    redis.call('ZADD', lanes_key(app.name), pass, user)
    redis.call('ZADD', SIZES, redis.call('ZCARD', lane), lane_name(app.name, user))
  end
  return 1
end

local function release(apps)
  local app = first_of(apps)
  local room = app and math.min(max, window - redis.call('ZCARD', INFLIGHT)) or 0
  local parked = 0
  while app and room > 0 and parked < BATCH do
    if has_room(app) then
      local count = serve(app)
      room, app.room = room - count, app.room - count
    else
      parked = parked + 1
    end
    look(app)
    if app.user and app.room <= 0 then
      local left, at = app_room(app.name)
      app.room = left
      if left <= 0 then
        look_again_at(at)
      end
    end
    app = first_of(apps)
  end
  is_more = is_more or parked == BATCH or (max > 0 and #released == 3 * max)
end

-- A pass that the virtual time has reached says nothing any more. When no lane is left nobody waited, so nobody is
-- ahead of anybody: every clock begins anew.
local function forget_passes(apps)
  local is_idle = not is_any_parked
  for _, app in ipairs(apps) do
    is_idle = is_idle and not app.user
  end
  if is_idle and #apps == 0 and vtime == 0 then
    return
  end
  if is_idle then
    for _, app in ipairs(apps) do
      redis.call('UNLINK', passes_key(app.name))
    end
    redis.call('DEL', SHIFTS, VTIME)
    return
  end
  if vtime ~= started_at then
    redis.call('SET', VTIME, whole(vtime))
  end
  for _, app in ipairs(apps) do
    local passes, clock = passes_key(app.name), vtime - app.shift
    if app.user then
      clock = math.min(clock, app.pass)
    end
    local stale = redis.call('ZRANGEBYSCORE', passes, '-inf', whole(clock), 'LIMIT', 0, max + BATCH)
    if #stale > 0 then
      redis.call('ZREM', passes, unpack(stale))
    end
  end
end

look_again_at(bring_back_due(INFLIGHT, back_from_window))
look_again_at(bring_back_due(DELAYED, back_from_delay))
bring_back_due(RESERVED, back_from_reservation)
local parked_until = bring_back_due(PARKED, back_from_parking)
look_again_at(parked_until)
is_any_parked = parked_until ~= nil

started_at = tonumber(redis.call('GET', VTIME) or '0')
vtime = started_at
local apps = read_apps()
for _, app in ipairs(apps) do
  ask_for_room(app)
end
release(apps)
forget_passes(apps)

if #released > 0 then
  redis.call('RPUSH', ANSWER, unpack(released))
  redis.call('PEXPIRE', ANSWER, ANSWER_KEPT)
end
local wait = -1
if is_more then
  wait = 0
elseif look_again then
  wait = math.max(1, look_again - time)
end
return {wait, released}
