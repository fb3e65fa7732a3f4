-- Forgets a job, wherever it is.
local user, job = ARGV[3], ARGV[4]

redis.call('ZREM', RESERVED, job)
redis.call('ZREM', DELAYED, job)
redis.call('ZREM', INFLIGHT, job)
leave_lane(job, user)
give_place(job, user)
wake()
redis.call('PUBLISH', PREFIX .. 'progress', job .. ' over')
return 1
