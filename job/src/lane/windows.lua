-- The windows that accepted jobs are counted in.
local HOUR, MINUTE = 3600000, 60000
local CLASSES = {'read', 'write', 'upload'}

local function client_key(client)
  return PREFIX .. 'client:' .. client
end

local function window_key(user, class)
  return PREFIX .. 'window:' .. user .. ':' .. class
end

local function mark_key(idempotency)
  return PREFIX .. 'idem:' .. idempotency
end

-- In how many milliseconds the `n`th oldest event is over; 0 where n is not positive.
local function wait_for(logs, n, time)
  if n <= 0 then
    return 0
  end
  return log_frees_of_all(logs, n) - time
end

-- In how many milliseconds the oldest event is over; 0 where there is none.
local function reset_of(logs, time)
  local reset = 0
  for _, log in ipairs(logs) do
    if log.count > 0 then
      local ends = log.first + log.span - time
      if reset == 0 or ends < reset then
        reset = ends
      end
    end
  end
  return reset
end
