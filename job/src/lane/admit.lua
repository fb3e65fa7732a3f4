-- Takes a place for a job if the user and the queue have one.
-- Answers {0, 0, 0}: taken, or it was taken before; {1, n, age}: the user has n jobs; {2, n, age}: the queue has n
-- jobs; age is that of the oldest of them in milliseconds.
local user, job, accepted, entry = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local pending_limit, buffer, reservation = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

if has_place(job, user) then
  return {0, 0, 0}
end
local pending = redis.call('ZCARD', pending_key(user))
if pending >= pending_limit then
  return {1, pending, oldest_of_user(user)}
end
local total = queue_size()
if total >= buffer then
  return {2, total, oldest_of_queue()}
end
redis.call('ZADD', RESERVED, whole(now() + reservation), job)
take_place(job, user, accepted, entry)
return {0, 0, 0}
