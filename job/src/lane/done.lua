-- Forgets a job, wherever it is.
local user, job, app = ARGV[3], ARGV[4], ARGV[5]

leave_window(job)
redis.call('ZREM', RESERVED, job)
redis.call('ZREM', DELAYED, job)
leave_lane(job, app, user)
give_place(job, user)
wake_if_lanes_wait()
redis.call('PUBLISH', PREFIX .. 'progress', job .. 'over')
return 1
