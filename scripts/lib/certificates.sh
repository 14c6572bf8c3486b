# shellcheck shell=bash
# Certificates of the layout that kubeadm makes for an etcd on a control-plane node. Needs common.sh.

# Makes in FOLDER what kubeadm has in /etc/kubernetes/pki: certificates_make FOLDER
#   etcd/ca.crt                        signs all of the following
#   etcd/server.crt                    etcd's own; also shown by the interceptor
#   apiserver-etcd-client.crt          shown by whoever is a client of etcd
certificates_make() {
  local dir=$1
  need openssl "install openssl"
  (
    umask 077
    mkdir -p "$dir/etcd"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=etcd-ca -keyout "$dir/etcd/ca.key" -out "$dir/etcd/ca.crt" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign 2>/dev/null &&
      certificate_sign "$dir" etcd/server /CN=control-plane serverAuth,clientAuth "DNS:localhost,IP:127.0.0.1,IP:::1" &&
      certificate_sign "$dir" apiserver-etcd-client /CN=kube-apiserver-etcd-client clientAuth ""
  ) || die "$EXIT_UNAVAILABLE" "openssl could not make certificates in $dir"
}

# Makes a key and a certificate signed by the folder's CA: certificate_sign FOLDER NAME SUBJECT USAGE NAMES
certificate_sign() {
  local dir=$1 name=$2 subject=$3 usage=$4 names=$5 extensions
  extensions="keyUsage=critical,digitalSignature,keyEncipherment"$'\n'"extendedKeyUsage=$usage"
  [ -z "$names" ] || extensions+=$'\n'"subjectAltName=$names"
  openssl req -newkey rsa:2048 -nodes -subj "$subject" -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null &&
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/etcd/ca.crt" -CAkey "$dir/etcd/ca.key" -CAcreateserial -days 30 \
      -extfile <(printf '%s\n' "$extensions") -out "$dir/$name.crt" 2>/dev/null &&
    rm "$dir/$name.csr"
}
