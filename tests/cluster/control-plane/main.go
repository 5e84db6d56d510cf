// Command kube-control-plane is a multi-call binary: the program it becomes is chosen
// by argv[0] (symlink) or by the first argument.
//
// One binary instead of five: the packages are shared, so a cold build on two cores
// compiles and links them once. Only the chosen component's command is constructed, so
// process-wide registries (feature gates, metrics) see exactly one component, as in
// the upstream binaries.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	_ "time/tzdata" // CronJob time zones without a host tz database

	"github.com/spf13/cobra"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric

	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// commands are cobra programs run through component-base/cli, as upstream mains do.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

// raw are programs that parse os.Args themselves.
var raw = map[string]func(args []string){}

func names() string {
	var all []string
	for n := range commands {
		all = append(all, n)
	}
	for n := range raw {
		all = append(all, n)
	}
	sort.Strings(all)
	return strings.Join(all, "|")
}

func known(n string) bool {
	_, c := commands[n]
	_, r := raw[n]
	return c || r
}

func main() {
	name := filepath.Base(os.Args[0])
	if !known(name) {
		if len(os.Args) < 2 || !known(os.Args[1]) {
			fmt.Fprintf(os.Stderr, "usage: %s <%s> [flags]\n", name, names())
			os.Exit(2)
		}
		name = os.Args[1]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	if run, ok := raw[name]; ok {
		run(os.Args)
		return
	}
	os.Exit(cli.Run(commands[name]()))
}
