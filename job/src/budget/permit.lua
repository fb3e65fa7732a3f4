-- Charges one request to its application and, if there is one, to its user, or says why not and for how long.
-- Answers {0, 0, probe}: it may be sent, and whether it is the probe of a half-open circuit; else {why, wait in ms, 0},
-- why being 1 the application's budget, 2 the user's, 3 an open circuit, 4 a probe under way, 5 budgets being rebuilt.
-- The same ticket gets the same permit again and is charged once.
local ticket, app, user, endpoint = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- Whether a person waits, so that the request may use what jobs leave.
local signs_in, run = ARGV[7] == '1', ARGV[8]

-- For how long a permit is remembered, in milliseconds; longer than a caller goes on asking.
local PERMIT_KEPT = 30000

local PERMIT = PREFIX .. 'permit:' .. ticket
local permitted = redis.call('GET', PERMIT)
if permitted then
  return {0, 0, tonumber(permitted)}
end
if not budgets_are_whole(run) then
  return {5, LOOK_AGAIN, 0}
end

local time, span = now(), setting('span')
local circuit = circuit_key(app, endpoint)
local state, ends = stance(circuit, time)
if state == 'open' then
  return {3, ends - time, 0}
elseif state == 'half' then
  return {4, math.min(ends - time, LOOK_AGAIN), 0}
end

local function spent(log, limit)
  if log.count >= limit then
    return log_frees(log, log.count - limit + 1) - time
  end
end

local of_app = log_read(app_log_key(app), time, span)
local wait = spent(of_app, signs_in and app_limit(app) or limit_of_jobs(app))
if wait then
  return {1, wait, 0}
end
local of_user
if user ~= '' then
  of_user = log_read(user_log_key(user), time, span)
  wait = spent(of_user, setting('user'))
  if wait then
    return {2, wait, 0}
  end
end

-- Charged before it is remembered: a script that fails in between charges twice, never not at all.
log_add(of_app, 1)
if of_user then
  log_add(of_user, 1)
end
local probe = 0
if state == 'due' then
  probe = 1
  redis.call('HSET', circuit, 'state', 'half', 'until', whole(time + setting('lease')))
end
redis.call('SET', PERMIT, probe, 'PX', PERMIT_KEPT)
return {0, 0, probe}
