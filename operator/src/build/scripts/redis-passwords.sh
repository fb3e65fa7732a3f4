# Sourced by the scripts that start a server.
#
# While the password is replaced its Secret holds a second one: next-password at first, which clients do not use yet, then
# the one before as previous-password. Both hold. The kubelet brings the files a minute or two after the Secret, and the
# operator goes on only when it has seen by a login that every server took them up.

auth=/etc/redis-auth

# The passwords that hold, as rules of an ACL, the one in use first. The kubelet exchanges the files in one step, which may
# come between two of them: then they are read again.
passwords() {
    while :; do
        version=$(readlink "$auth/..data" || true)
        rules=
        for file in password next-password previous-password; do
            [ ! -s "$auth/$file" ] || rules="$rules >$(cat "$auth/$file" || true)"
        done
        [ "$(readlink "$auth/..data" || true)" != "$version" ] || break
    done
    printf '%s' "$rules"
}

# on_new_passwords RULES COMMAND…: runs the command whenever the passwords are others than these, until it succeeds.
on_new_passwords() {
    known=$1
    shift
    while sleep 5; do
        found=$(passwords)
        [ "$found" != "$known" ] || continue
        "$@" && known=$found
    done
}
