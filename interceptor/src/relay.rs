//! Accepts connections and copies bytes between kube-apiserver and etcd.
