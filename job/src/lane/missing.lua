-- Answers which of some jobs (user, job, user, job, …) are not where a queued job belongs: counted, and in their lane,
-- delayed or in the window. Changes nothing.
local function is_counted(job, user)
  return redis.call('HEXISTS', ENTRIES, job) == 1
    and redis.call('ZSCORE', JOBS, job)
    and redis.call('ZSCORE', pending_key(user), job)
end

local function is_in_lane(job, user)
  return redis.call('ZSCORE', lane_key(user), job)
    and redis.call('ZSCORE', LANES, user)
    and redis.call('ZSCORE', SIZES, user)
end

local function has_place(job, user)
  return is_in_lane(job, user) or redis.call('ZSCORE', DELAYED, job) or redis.call('ZSCORE', INFLIGHT, job)
end

local missing = {}
for n = 3, #ARGV, 2 do
  local user, job = ARGV[n], ARGV[n + 1]
  if not (is_counted(job, user) and has_place(job, user)) then
    missing[#missing + 1] = job
  end
end
return missing
