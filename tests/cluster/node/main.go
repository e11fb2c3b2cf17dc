// Command node is a whole one-node Kubernetes in one binary: the first argument (or the name it
// is called by) picks the component. Every component but provisioner is the upstream one,
// unchanged; one binary because they share most of their code and link in a sixth of the time.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

// command wraps the constructor of a Kubernetes component.
func command(build func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(build())) }
}

var components = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          command(apiserver.NewAPIServerCommand),
	"kube-controller-manager": command(controllers.NewControllerManagerCommand),
	"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              command(proxy.NewProxyCommand),
	"kubelet":                 command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"coredns":                 runCoreDNS,
	"kubectl":                 command(kubectl.NewDefaultKubectlCommand),
	"provisioner":             runProvisioner,
}

// runCoreDNS knows four plugins only: where to listen, errors to the log, the cluster's names, and
// a fixed answer for all others.
func runCoreDNS() {
	dnsserver.Directives = []string{"bind", "errors", "kubernetes", "template"}
	coremain.Run()
}

func main() {
	name := filepath.Base(os.Args[0])
	run, found := components[name]
	if !found && len(os.Args) > 1 {
		name = os.Args[1]
		run, found = components[name]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	if !found {
		names := make([]string, 0, len(components))
		for known := range components {
			names = append(names, known)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: node COMPONENT [flags]; components: %s\n", strings.Join(names, ", "))
		os.Exit(2)
	}
	run()
}
