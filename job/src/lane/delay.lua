-- Lets a job wait until its due time (ARGV[7], milliseconds since 1970), wherever it is.
local user, job, accepted, entry, due = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

take_place(job, user, accepted, entry)
redis.call('ZADD', DELAYED, due, job)
redis.call('ZREM', RESERVED, job)
redis.call('ZREM', INFLIGHT, job)
leave_lane(job, user)
wake()
redis.call('PUBLISH', PREFIX .. 'progress', job .. ' queued')
return 1
