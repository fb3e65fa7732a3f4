-- Puts a job into the window for a lease (ARGV[7], milliseconds), unless it is known to be somewhere.
local user, job, accepted, entry, lease = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

count_in(job, user, accepted)
local _, app = parse_entry(entry)
if redis.call('ZSCORE', lane_key(app, user), job)
  or redis.call('ZSCORE', DELAYED, job)
  or redis.call('ZSCORE', INFLIGHT, job) then
  return 0
end
redis.call('HSET', ENTRIES, job, entry)
enter_window(job, app, user, whole(now() + lease))
redis.call('ZREM', RESERVED, job)
return 1
