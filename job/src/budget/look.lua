-- How an application's budget, its circuits and a user's budget stand. Changes nothing.
-- Answers {time, whole, limit, used, frees, rest state, until, upload state, until, user limit, used, frees}: times in
-- milliseconds since 1970, `frees` when the oldest request is over (0 without one), a state 0 closed, 1 half-open, 2 open.
local app, user = ARGV[3], ARGV[4]

local time = now()

local function log_line(key)
  local log = log_read(key, time, setting('span'))
  if log.count == 0 then
    return 0, 0
  end
  return log.count, log_frees(log, 1)
end

local function circuit_line(endpoint)
  local state, ends = stance(circuit_key(app, endpoint), time)
  if state == 'closed' then
    return 0, 0
  elseif state == 'open' then
    return 2, ends
  end
  return 1, ends or time
end

local used, frees = log_line(app_log_key(app))
local rest, rest_until = circuit_line('rest')
local upload, upload_until = circuit_line('upload')
local user_used, user_frees = 0, 0
if user ~= '' then
  user_used, user_frees = log_line(user_log_key(user))
end
return {
  time, budgets_are_whole() and 1 or 0, app_limit(app), used, frees, rest, rest_until, upload, upload_until,
  setting('user'), user_used, user_frees,
}
