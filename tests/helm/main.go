// Renders a Helm chart as `helm template` does, by Helm's own packages, and refuses values as `helm install` does.
//
//	helm [-f VALUES]... [-set KEY=VALUE]... [-name NAME] [-namespace NAMESPACE] [-kube-version V] [-upgrade] [-notes] CHART
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli/values"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/getter"
)

type list []string

func (l *list) String() string       { return strings.Join(*l, ",") }
func (l *list) Set(one string) error { *l = append(*l, one); return nil }

func run() error {
	var files, sets list
	name := flag.String("name", "speaker", "the release's name")
	namespace := flag.String("namespace", "kube-system", "its namespace")
	version := flag.String("kube-version", "v1.36.0", "the cluster's version")
	upgrade := flag.Bool("upgrade", false, "render an upgrade")
	notes := flag.Bool("notes", false, "print NOTES.txt too")
	flag.Var(&files, "f", "a file with values")
	flag.Var(&sets, "set", "KEY=VALUE")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("usage: helm [-f VALUES] [-set KEY=VALUE] CHART")
	}
	chart, err := loader.Load(flag.Arg(0))
	if err != nil {
		return err
	}
	given, err := (&values.Options{ValueFiles: files, Values: sets}).MergeValues(getter.Providers{})
	if err != nil {
		return err
	}
	if err := chart.Validate(); err != nil {
		return err
	}
	if err := chartutil.ProcessDependenciesWithMerge(chart, given); err != nil {
		return err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	parsed, err := chartutil.ParseKubeVersion(*version)
	if err != nil {
		return err
	}
	capabilities.KubeVersion = *parsed
	options := chartutil.ReleaseOptions{
		Name: *name, Namespace: *namespace, Revision: 1, IsInstall: !*upgrade, IsUpgrade: *upgrade,
	}
	// Checks values.schema.json as well.
	all, err := chartutil.ToRenderValues(chart, given, options, capabilities)
	if err != nil {
		return err
	}
	if chart.Metadata.KubeVersion != "" && !chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, capabilities.KubeVersion.Version) {
		return fmt.Errorf("the chart wants Kubernetes %s, this is %s", chart.Metadata.KubeVersion, capabilities.KubeVersion.Version)
	}
	rendered, err := engine.Engine{Strict: true}.Render(chart, all)
	if err != nil {
		return err
	}
	paths := make([]string, 0, len(rendered))
	for path := range rendered {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		text := strings.TrimSpace(rendered[path])
		if text == "" || (strings.HasSuffix(path, "NOTES.txt") != *notes) {
			continue
		}
		fmt.Printf("---\n# Source: %s\n%s\n", path, strings.TrimPrefix(text, "---\n"))
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
