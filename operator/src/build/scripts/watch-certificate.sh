# Sourced by the scripts that start a server.
#
# The kubelet replaces a certificate, its key and the authorities in one step, a minute or two after their Secret; a server
# that does not look by itself has to be told.

# on_new_certificate FOLDER COMMAND…: runs the command whenever the certificate in the folder has become another one, until
# it succeeds.
on_new_certificate() {
    folder=$1
    shift
    known=$(cat "$folder/tls.crt")
    while sleep 10; do
        found=$(cat "$folder/tls.crt") || continue
        [ "$found" != "$known" ] || continue
        "$@" && known=$found
    done
}
