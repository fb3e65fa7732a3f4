-- Puts a job into the window for a lease (ARGV[7], milliseconds), unless it is known to be somewhere.
local user, job, accepted, entry, lease = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

take_place(job, user, accepted, entry)
if redis.call('ZSCORE', lane_key(user), job)
  or redis.call('ZSCORE', DELAYED, job)
  or redis.call('ZSCORE', INFLIGHT, job) then
  return 0
end
redis.call('ZADD', INFLIGHT, whole(now() + lease), job)
redis.call('ZREM', RESERVED, job)
return 1
