-- Health of a FlickrHub or a FlickrHubClient for Argo CD: the verdict of kstatus in Argo CD's words.
--
--   kstatus       Argo CD
--   Current       Healthy
--   InProgress    Progressing
--   Failed        Degraded
--   Terminating   Progressing

local function verdict(status, message)
  return { status = status, message = message or "" }
end

if obj.metadata.deletionTimestamp ~= nil then
  return verdict("Progressing", "It is about to go.")
end

local status = obj.status
if status == nil then
  return verdict("Progressing", "The operator has not looked at it yet.")
end

-- What is said of older settings says nothing of these.
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return verdict("Progressing", "The operator has not looked at these settings yet.")
end

local ready = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Reconciling" and condition.status == "True" then
    return verdict("Progressing", condition.message)
  end
  if condition.type == "Stalled" and condition.status == "True" then
    return verdict("Degraded", condition.message)
  end
  if condition.type == "Ready" and ready == nil then
    ready = condition
  end
end

if ready ~= nil and ready.status ~= "True" then
  return verdict("Progressing", ready.message)
end
return verdict("Healthy", ready and ready.message)
