package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kinds is what Diagnose shows of a namespace. Secrets are not shown with their content.
const kinds = "databases.db.platform.io,databaseinstances.db.platform.io,databasebackups.db.platform.io,pods,statefulsets,services," +
	"configmaps,persistentvolumeclaims,leases"

// Diagnose writes what is in the namespace, its events and the logs of its pods and of the operator into the folder, and returns a
// short text for the log of a test.
func (e *Env) Diagnose(ctx context.Context, namespace, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the folder for diagnostics: %w", err)
	}
	commands := []struct {
		file string
		args []string
	}{
		{"objects.txt", []string{"get", kinds + ",secrets", "--namespace", namespace, "--output=wide"}},
		{"objects.yaml", []string{"get", kinds, "--namespace", namespace, "--output=yaml"}},
		{"events.txt", []string{"get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"}},
		{"pods.txt", []string{"describe", "pods", "--namespace", namespace}},
		{"nodes.txt", []string{"get", "nodes,persistentvolumes,pods", "--all-namespaces", "--output=wide"}},
	}
	var errs []error
	var short strings.Builder
	for _, command := range commands {
		output, err := e.Kubectl(ctx, "", command.args...)
		if err != nil {
			output += err.Error()
		}
		if strings.HasSuffix(command.file, ".txt") && command.file != "pods.txt" && command.file != "nodes.txt" {
			short.WriteString(output + "\n")
		}
		errs = append(errs, os.WriteFile(filepath.Join(dir, command.file), []byte(output), 0o600))
	}
	for _, ns := range []string{namespace, OperatorNamespace} {
		logs, err := e.logs(ctx, ns, dir)
		errs = append(errs, err)
		short.WriteString(logs)
	}
	return short.String() + "more is in " + dir + "\n", errors.Join(errs...)
}

// logs writes the logs of every container, of the present one and the one before, and returns the last lines of them.
func (e *Env) logs(ctx context.Context, namespace, dir string) (string, error) {
	pods, err := e.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("listing pods: %w", err)
	}
	var short strings.Builder
	var errs []error
	for _, pod := range pods.Items {
		for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			for _, previous := range []bool{true, false} {
				options := &corev1.PodLogOptions{Container: container.Name, Previous: previous, LimitBytes: new(int64(4 << 20))}
				log, err := e.Kube.CoreV1().Pods(namespace).GetLogs(pod.Name, options).DoRaw(ctx)
				if err != nil || len(log) == 0 {
					continue // never started, or not started twice
				}
				name := pod.Name + "_" + container.Name
				if previous {
					name += "_previous"
				}
				errs = append(errs, os.WriteFile(filepath.Join(dir, name+".log"), log, 0o600))
				short.WriteString("--- " + name + "\n" + lastLines(string(log), 12))
			}
		}
	}
	return short.String(), errors.Join(errs...)
}

func lastLines(text string, count int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-count-1):], "")
}
