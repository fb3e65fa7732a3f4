-- Takes a place for a job, and counts it, if nothing is against it; by 'look' only says whether something is.
-- Answers {verdict, number, age, time, jobs of the client, reset, of the user, reset, of the class, reset, mark}:
-- 0 admitted, now or before; 1 the user has `number` jobs; 2 the queue has `number` jobs, the oldest of them `age` ms
-- old; 3, 4, 5 the window of the client, the user, the class is full, no window will be in `number` ms; 6 a request with
-- the same idempotency key is under way; 7 one was accepted, `mark` says as what.
local user, job, accepted, entry = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local take = ARGV[7] == 'take'
local pending_limit, buffer, reservation = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local client, client_limit, user_limit = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13])
local class, class_limit = ARGV[14], tonumber(ARGV[15])
local idempotency, mark_lifetime = ARGV[16], ARGV[17]

local time = now()
local of_client = log_read(client_key(client), time, MINUTE)
local of_user, of_class, total = {}, nil, 0
for i, name in ipairs(CLASSES) do
  of_user[i] = log_read(window_key(user, name), time, HOUR)
  total = total + of_user[i].count
  if name == class then
    of_class = of_user[i]
  end
end

local function answer(verdict, number, age, mark)
  return {
    verdict, number, age, of_class.last,
    of_client.count, reset_of({of_client}, time),
    total, reset_of(of_user, time),
    of_class.count, reset_of({of_class}, time),
    mark or '',
  }
end

if has_place(job, user) then
  of_class.last = 0
  return answer(0, 0, 0)
end

local mark = idempotency ~= '' and redis.call('GET', mark_key(idempotency))
if mark then
  local state, payload, holder = string.match(mark, '^(%a)|([^|]*)|(.*)$')
  if state == 'd' and take then
    return answer(7, 0, 0, payload .. '|' .. holder)
  elseif state == 'd' then
    return answer(0, 0, 0)
  elseif holder ~= job then
    return answer(6, 0, 0)
  end
end

local client_wait = wait_for({of_client}, of_client.count + 1 - client_limit, time)
local user_wait = wait_for(of_user, total + 1 - user_limit, time)
local class_wait = wait_for({of_class}, of_class.count + 1 - class_limit, time)
local longest = math.max(client_wait, user_wait, class_wait)
if client_wait > 0 then
  return answer(3, longest, 0)
elseif user_wait > 0 then
  return answer(4, longest, 0)
elseif class_wait > 0 then
  return answer(5, longest, 0)
end

local pending = redis.call('ZCARD', pending_key(user))
if pending >= pending_limit then
  return answer(1, pending, oldest_of_user(user))
end
local jobs = queue_size()
if jobs >= buffer then
  return answer(2, jobs, oldest_of_queue())
end

if take then
  -- Counted before it gets its place: if Redis fails in between, one is counted too many, not too few.
  log_add(of_client, 1)
  log_add(of_class, 1)
  total = total + 1
  redis.call('ZADD', RESERVED, whole(time + reservation), job)
  take_place(job, user, accepted, entry)
  if idempotency ~= '' then
    redis.call('SET', mark_key(idempotency), 'p||' .. job, 'PX', mark_lifetime)
  end
end
return answer(0, 0, 0)
