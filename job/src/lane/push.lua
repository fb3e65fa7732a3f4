-- Puts a job into its lane. With 'requeue' from wherever it is; else only if it is neither delayed nor in the window.
local user, job, accepted, entry, mode = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

count_in(job, user, accepted)
if mode ~= 'requeue' and (redis.call('ZSCORE', INFLIGHT, job) or redis.call('ZSCORE', DELAYED, job)) then
  return 0
end
local score, app = parse_entry(entry)
enter_lane(job, score, app, user)
leave_window(job)
redis.call('ZREM', DELAYED, job)
redis.call('ZREM', RESERVED, job)
redis.call('HDEL', ENTRIES, job)
wake()
return 1
