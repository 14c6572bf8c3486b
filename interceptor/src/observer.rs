//! A passive parser of HTTP/2 and gRPC that reports mutating etcd calls.
