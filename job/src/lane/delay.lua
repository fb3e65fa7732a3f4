-- Lets a job wait until its due time (ARGV[7], milliseconds since 1970), wherever it is.
local user, job, accepted, entry, due = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

redis.call('ZADD', DELAYED, due, job)
leave_window(job)
take_place(job, user, accepted, entry)
redis.call('ZREM', RESERVED, job)
local _, app = parse_entry(entry)
leave_lane(job, app, user)
wake()
redis.call('PUBLISH', PREFIX .. 'progress', job .. 'queued')
return 1
