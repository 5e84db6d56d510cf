package main

import "go.etcd.io/etcd/server/v3/etcdmain"

// etcd of the version whose client k8s.io/kubernetes itself pins; it parses os.Args.
func init() {
	raw["etcd"] = func(args []string) { etcdmain.Main(args) }
}
