#!/usr/bin/env bash
# Packs the operator's image from the programs in out/rootfs/usr/local/bin, without Docker, into out/operator.tar.
# Usage: hack/image/pack.sh CLUSTER-TOOL IMAGE-NAME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=$1 name=$2 root=out/rootfs certificates=/etc/ssl/certs/ca-certificates.crt
mkdir -p $root/etc/ssl/certs $root/tmp
chmod 1777 $root/tmp
echo "operator:x:65532:65532::/:/sbin/nologin" >$root/etc/passwd
echo "operator:x:65532:" >$root/etc/group
if [ -e $certificates ]; then
  cp $certificates $root/etc/ssl/certs/
fi
"$tool" image pack --name "$name" --rootfs $root --out out/operator.tar --user 65532:65532 \
  --env PATH=/usr/local/bin --entrypoint /usr/local/bin/database-operator
