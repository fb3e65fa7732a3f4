-- Takes back what an admission took: continues with what forgets the job. A job that is not known was given back
-- before: its count is gone, and another one must not be taken instead.
local user, job, class, at, idempotency = ARGV[3], ARGV[4], ARGV[6], tonumber(ARGV[7]), ARGV[8]

if has_place(job, user) then
  log_take_back(log_read(window_key(user, class), now(), HOUR), at)
end
if idempotency ~= '' and redis.call('GET', mark_key(idempotency)) == 'p||' .. job then
  redis.call('DEL', mark_key(idempotency))
end

