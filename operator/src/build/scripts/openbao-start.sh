#!/bin/sh
# Starts OpenBao, which takes up another certificate when it is told to.
set -eu
. /etc/openbao/certificate.sh
# This shell becomes the server.
on_new_certificate /etc/openbao-tls kill -HUP $$ &
exec bao server -config=/etc/openbao/openbao.hcl
