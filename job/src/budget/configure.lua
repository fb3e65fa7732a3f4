-- Writes the settings (ARGV[3] of them, name and value) and the limits of the applications (name and value); what is not
-- among them goes.
local count = tonumber(ARGV[3])

redis.call('DEL', SETTINGS)
for n = 4, 2 + 2 * count, 2 do
  redis.call('HSET', SETTINGS, ARGV[n], ARGV[n + 1])
end
redis.call('DEL', APPS)
for n = 4 + 2 * count, #ARGV, 2 do
  redis.call('HSET', APPS, ARGV[n], ARGV[n + 1])
end
return 1
