-- Answers which of some jobs (application, user, job, …) are not where a queued job belongs: counted, and in their
-- lane, delayed or in the window. Changes nothing.
local function is_in_lane(job, app, user)
  local name = lane_name(app, user)
  return redis.call('ZSCORE', lane_key(app, user), job)
    and redis.call('ZSCORE', SIZES, name)
    and (redis.call('ZSCORE', lanes_key(app), user) or redis.call('ZSCORE', PARKED, name))
end

local function is_outside(job)
  return redis.call('HEXISTS', ENTRIES, job) == 1
    and (redis.call('ZSCORE', DELAYED, job) or redis.call('ZSCORE', INFLIGHT, job))
end

local missing = {}
for n = 3, #ARGV, 3 do
  local app, user, job = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  if not (has_place(job, user) and (is_in_lane(job, app, user) or is_outside(job))) then
    missing[#missing + 1] = job
  end
end
return missing
