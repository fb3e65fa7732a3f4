-- Room as a test has set it: `room` holds, for `app:{app}` and `user:{app}:{user}`, how many jobs may be in the window
-- and in how many ms to ask again when so many are. Without an entry there is room for all.
local function room_of(field, used)
  local limit, wait = string.match(redis.call('HGET', PREFIX .. 'room', field) or '1000000|0', '^(%d+)|(%d+)$')
  local room = math.max(0, tonumber(limit) - used)
  return room, now() + tonumber(wait)
end

local function app_room(app)
  return room_of('app:' .. app, window_of_app(app))
end

local function user_room(app, user)
  return room_of('user:' .. app .. ':' .. user, window_of_user(user))
end
