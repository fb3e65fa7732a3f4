#!/usr/bin/env bash
# The main job by HTTP, as an application developer would do it: authorise a user, submit an upload, a REST call and
# a replacement, wait for each and print its result.
. "$(dirname "$0")/environment.sh"

# API and MOCK are addresses as seen from the cluster's network. With KUBE_CONTEXT two port-forwards stand in for them.
API=http://$HUB-api.$NAMESPACE.svc
MOCK=http://flickr-mock.$NAMESPACE.svc:8080
forwards=()
work=$(mktemp -d)
clean_up() {
  local pid
  for pid in "${forwards[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT

forward() { # SERVICE PORT LOCAL
  kube -n "$NAMESPACE" port-forward "svc/$1" "$3:$2" >/dev/null &
  forwards+=($!)
}

if [ -n "${KUBE_CONTEXT:-}" ]; then
  forward "$HUB-api" 80 18080
  forward flickr-mock 8080 18081
  sleep 3
fi

# http CURL-ARGUMENTS…: curl from where the cluster's names resolve.
http() {
  if [ -n "${KUBE_CONTEXT:-}" ]; then
    local args=()
    for arg in "$@"; do
      arg=${arg//"$API"/http://127.0.0.1:18080}
      args+=("${arg//"$MOCK"/http://127.0.0.1:18081}")
    done
    curl -sS "${args[@]}"
  else
    "$LAB" run curl -sS "$@"
  fi
}

key=$(kube -n "$NAMESPACE" get secret "$HUB-client-default" -o jsonpath='{.data.api-key}' | base64 -d)
# The key goes to curl by a file, so that it is in no process list.
headers=$work/headers
printf 'Authorization: Bearer %s\n' "$key" >"$headers"
# What failed for now is sent again, after the time that the answer names if it names one. A demonstration may do that
# with a submission too; an application looks first whether the job was accepted, unless the answer was 429 or 503.
call() { http --retry 5 -H "@$headers" "$@"; }

# finished JOB_ID: waits until the job is in a final state and prints it.
finished() {
  local answer state tries=0
  while :; do
    answer=$(call "$API/api/v1/jobs/$1")
    state=$(jq -r .state <<<"$answer")
    case $state in
    queued | dispatched | running) ;;
    *) break ;;
    esac
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || break
    sleep 0.5
  done
  jq -c '{state, method, attempts, result, error, trace_id}' <<<"$answer"
  [ "$state" = succeeded ]
}

# submitted ANSWER: the job's id, or the problem that the API answered.
submitted() {
  jq -er .job_id <<<"$1" || {
    echo "refused: $1" >&2
    return 1
  }
}

say "Authorising a Flickr user (OAuth 1.0a: the API's link, the user's consent, Flickr's redirect to the API)"
link=$(call -H 'Content-Type: application/json' -d '{"permission":"delete"}' "$API/api/v1/oauth/start" | jq -er .authorize_url)
consent=$(http -o /dev/null -w '%{redirect_url}' "$link&as=ada")
user=$(http "$consent" | jq -er .user_id)
say "  user $user"

photo=$work/lighthouse.jpg
# The smallest file that is a JPEG by its first bytes, made longer by a comment segment.
{ printf '\xff\xd8\xff\xfe\xff\xff'; head -c 65533 /dev/zero; printf '\xff\xd9'; } >"$photo"

say "An upload"
answer=$(call -F "user_id=$user" -F title=Lighthouse -F "photo=@$photo;type=image/jpeg" "$API/api/v1/uploads")
id=$(submitted "$answer")
uploaded=$(finished "$id")
echo "$uploaded"
photo_id=$(jq -er .result.photo_id <<<"$uploaded")

say "A REST call: flickr.photos.search"
answer=$(call -H 'Content-Type: application/json' \
  -d "{\"user_id\":\"$user\",\"method\":\"flickr.photos.search\",\"params\":{\"text\":\"lighthouse\",\"per_page\":2}}" \
  "$API/api/v1/jobs")
id=$(submitted "$answer")
finished "$id"

say "A replacement of photo $photo_id"
answer=$(call -F "user_id=$user" -F "photo=@$photo;type=image/jpeg" "$API/api/v1/photos/$photo_id/replace")
id=$(submitted "$answer")
finished "$id"
