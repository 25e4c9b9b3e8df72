#!/bin/sh
# Makes a certificate authority and certificates for development: nodes, members and one client.
# Not for production: the key of the authority stays in the same directory.
#
#   dev-certs.sh DIRECTORY [HOST-OR-ADDRESS...]
#
# ca.pem                      the authority: --trusted-ca-file, --peer-trusted-ca-file, --cacert
# node.pem, node-key.pem      for clients: --cert-file, --key-file
# peer.pem, peer-key.pem      between members: --peer-cert-file, --peer-key-file
# client.pem, client-key.pem  a client named root: --cert, --key of tenurectl and etcdctl
#
# Certificates of nodes and members are for localhost, 127.0.0.1, ::1 and the hosts that are named.
# A second run keeps the authority and replaces the certificates.
set -eu
umask 077

if [ $# -lt 1 ]; then
    echo "usage: $0 DIRECTORY [HOST-OR-ADDRESS...]" >&2
    exit 2
fi
directory=$1
shift

names=DNS:localhost,IP:127.0.0.1,IP:::1
for host in "$@"; do
    case $host in
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) names=$names,IP:$host ;;
    *) names=$names,DNS:$host ;;
    esac
done

mkdir -p "$directory"
cd "$directory"

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.part"
    # The form that every program reads.
    openssl pkcs8 -topk8 -nocrypt -in "$1.part" -out "$1"
    rm -f "$1.part"
}

# issue NAME COMMON-NAME EXTENSIONS
issue() {
    new_key "$1-key.pem"
    openssl req -new -key "$1-key.pem" -subj "/O=tenure development/CN=$2" -out "$1.csr"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
        "$3" >"$1.ext"
    # The certificate appears whole, so that a node that reads it again never sees a part of it.
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -sha256 -days 365 \
        -set_serial "0x$(openssl rand -hex 15)" -extfile "$1.ext" -out "$1.pem.part" 2>/dev/null
    mv "$1.pem.part" "$1.pem"
    rm -f "$1.csr" "$1.ext"
}

if [ ! -f ca.pem ]; then
    new_key ca-key.pem
    openssl req -x509 -new -key ca-key.pem -sha256 -days 3650 \
        -subj "/O=tenure development/CN=tenure development authority" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem
fi

both="extendedKeyUsage=serverAuth,clientAuth
subjectAltName=$names"
issue node node "$both"
issue peer peer "$both"
issue client root "extendedKeyUsage=clientAuth"

echo "certificates for $names are in $directory"
