-- Adds requests to a log that lost its end: those (in milliseconds since 1970, ascending) that are later than the newest
-- one it has. Answers how many. Changes nothing once the budgets are whole.
local key = PREFIX .. 'budget:' .. ARGV[3]

if budgets_are_whole() then
  return 0
end
local time = now()
local log = log_read(key, time, setting('span'))
local kept_until, added = log.count > 0 and log.last or 0, 0
local n = 4
while n <= #ARGV do
  local at, same = ARGV[n], 1
  while ARGV[n + same] == at do
    same = same + 1
  end
  n = n + same
  at = tonumber(at)
  if at > kept_until and at > time - log.span then
    -- Not before those that are there, not in the future.
    log.time = math.max(log.count > 0 and log.last or 0, math.min(at, time))
    log_add(log, same)
    added = added + same
  end
end
return added
