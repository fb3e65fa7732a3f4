-- Makes the lease of a job in the window (ARGV[3]) end after ARGV[4] milliseconds. Answers whether it is there.
local job, lease = ARGV[3], tonumber(ARGV[4])

if not redis.call('ZSCORE', INFLIGHT, job) then
  return 0
end
redis.call('ZADD', INFLIGHT, whole(now() + lease), job)
return 1
