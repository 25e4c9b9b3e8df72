// Package manifests reads what is in deploy/ with the parsers of those who will read it: Kubernetes'
// own types, every unknown field an error, and the loader of docker compose.
//
// Run it with `make manifests`. KUSTOMIZED names the output of kubectl kustomize.
package manifests

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const composeFile = "../../deploy/compose/compose.yaml"

// objects are the objects of the directory, by kind and name.
type objects struct {
	set      appsv1.StatefulSet
	budget   policyv1.PodDisruptionBudget
	services map[string]corev1.Service
	scripts  corev1.ConfigMap
}

// read decodes every document; an unknown or repeated field is an error.
func read(t *testing.T) objects {
	path := os.Getenv("KUSTOMIZED")
	if path == "" {
		t.Skip("SKIPPED: KUSTOMIZED names no file; run this with `make manifests`")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := objects{services: map[string]corev1.Service{}}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.APIVersion + "/" + kind.Kind {
		case "apps/v1/StatefulSet":
			strict(t, document, &found.set)
		case "policy/v1/PodDisruptionBudget":
			strict(t, document, &found.budget)
		case "v1/Service":
			var service corev1.Service
			strict(t, document, &service)
			found.services[service.Name] = service
		case "v1/ConfigMap":
			strict(t, document, &found.scripts)
		default:
			t.Errorf("unexpected %v", kind)
		}
	}
}

func strict(t *testing.T, document []byte, object any) {
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
}

func value(container corev1.Container, name string) string {
	for _, variable := range container.Env {
		if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}

func TestEveryManifestHasOnlyFieldsThatKubernetesKnows(t *testing.T) {
	found := read(t)
	if found.set.Name != "tenure" || found.budget.Name != "tenure" || len(found.services) != 2 {
		t.Fatalf("an object is missing: %+v", found)
	}
	if !strings.HasPrefix(found.scripts.Data["join.sh"], "#!/bin/sh\n") {
		t.Error("the script is not in the config map")
	}
}

func TestThePodsFormAQuorumBeforeTheyAreReady(t *testing.T) {
	found := read(t)
	if found.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("a pod would wait for the one before, which waits for a quorum")
	}
	members := found.services[found.set.Spec.ServiceName]
	if members.Spec.ClusterIP != "None" || !members.Spec.PublishNotReadyAddresses {
		t.Error("members that are not ready have no names")
	}
	joining := found.set.Spec.Template.Spec.InitContainers[0]
	founders, _ := strconv.Atoi(value(joining, "FOUNDERS"))
	if int32(founders) != *found.set.Spec.Replicas || founders%2 == 0 {
		t.Errorf("%d founders, %d replicas", founders, *found.set.Spec.Replicas)
	}
	if value(joining, "MEMBERS_DOMAIN") != found.set.Spec.ServiceName {
		t.Error("the names of the pods are below another service")
	}
}

func TestEverySelectorFindsThePods(t *testing.T) {
	found := read(t)
	labels := found.set.Spec.Template.Labels
	selectors := []map[string]string{
		found.set.Spec.Selector.MatchLabels,
		found.budget.Spec.Selector.MatchLabels,
	}
	for _, service := range found.services {
		selectors = append(selectors, service.Spec.Selector)
	}
	for _, selector := range selectors {
		if len(selector) == 0 {
			t.Error("a selector is empty")
		}
		for name, value := range selector {
			if labels[name] != value {
				t.Errorf("%s=%s is no label of the pods", name, value)
			}
		}
	}
	if *found.budget.Spec.MaxUnavailable != intstr.FromInt32(1) {
		t.Error("more than one member may be drained at a time")
	}
}

func TestProbesAskThePagesOnAPortThatIsListenedOn(t *testing.T) {
	found := read(t)
	node := found.set.Spec.Template.Spec.Containers[0]
	ports := map[string]int32{}
	for _, port := range node.Ports {
		ports[port.Name] = port.ContainerPort
	}
	listened := value(node, "TENURE_LISTEN_METRICS_URLS")
	for probe, path := range map[*corev1.Probe]string{
		node.LivenessProbe: "/livez", node.ReadinessProbe: "/readyz", node.StartupProbe: "/livez",
	} {
		port := ports[probe.HTTPGet.Port.StrVal]
		if probe.HTTPGet.Path != path || !strings.HasSuffix(listened, ":"+strconv.Itoa(int(port))) {
			t.Errorf("%s on %s", probe.HTTPGet.Path, probe.HTTPGet.Port.String())
		}
		// The page itself gives up after seven seconds, and says why.
		if probe.TimeoutSeconds < 8 {
			t.Errorf("%s is given up before it answers", path)
		}
	}
	if node.Lifecycle != nil && node.Lifecycle.PreStop != nil {
		t.Error("a hook that runs at every restart must not change the membership")
	}
}

func TestThePodsHaveNoRightsTheyDoNotNeed(t *testing.T) {
	spec := read(t).set.Spec.Template.Spec
	if *spec.AutomountServiceAccountToken || !*spec.SecurityContext.RunAsNonRoot {
		t.Error("the pod has rights that it does not need")
	}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		context := container.SecurityContext
		if *context.AllowPrivilegeEscalation || !*context.ReadOnlyRootFilesystem {
			t.Errorf("%s may write or get rights", container.Name)
		}
		if !slices.Contains(context.Capabilities.Drop, "ALL") {
			t.Errorf("%s has capabilities", container.Name)
		}
	}
}

func TestComposeStartsThreeNodesThatKnowEachOther(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{composeFile}, cli.WithName("tenure"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(project.Services) != 3 {
		t.Fatalf("%d services", len(project.Services))
	}
	for name, service := range project.Services {
		variable := func(name string) string {
			if value := service.Environment[name]; value != nil {
				return *value
			}
			return ""
		}
		own := name + "=" + variable("TENURE_INITIAL_ADVERTISE_PEER_URLS")
		if variable("TENURE_NAME") != name {
			t.Errorf("%s is named %s", name, variable("TENURE_NAME"))
		}
		if !slices.Contains(strings.Split(variable("TENURE_INITIAL_CLUSTER"), ","), own) {
			t.Errorf("%s is not in the initial cluster", own)
		}
		for _, mount := range service.Volumes {
			if mount.Target == "/var/lib/tenure" && mount.Source != name {
				t.Errorf("%s has the data of %s", name, mount.Source)
			}
		}
		if !service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") {
			t.Errorf("%s has rights that it does not need", name)
		}
	}
}
